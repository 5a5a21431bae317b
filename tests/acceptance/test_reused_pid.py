"""A pid that has become a stranger's: its owner is never taken for the leader of a run whose shim is dead."""

from __future__ import annotations

import os
import signal
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from support.agent import Agent, until_ended
from support.crash import shim_of
from support.evidence import WAITS
from support.left_running import end_marked, launch_and_leave, scene
from support.tasks import shell
from support.waiting import until

from farspawn.v1 import task_pb2
from farspawn_core import proc


@contextmanager
def stranger() -> Iterator[proc.Process]:
    """Yield a process that leads a session of its own, as a task's leader does, with a child in it."""
    with subprocess.Popen(
        ["/bin/sh", "-c", "sleep 1000 & echo; wait"], stdout=subprocess.PIPE, start_new_session=True
    ) as owner:
        try:
            assert owner.stdout is not None
            owner.stdout.readline()
            found = proc.read(owner.pid)
            assert found is not None
            yield found
        finally:
            for child in proc.children(owner.pid):
                if (process := proc.read(child)) is not None:
                    proc.send(process, 9)
            owner.kill()


@pytest.mark.parametrize("apart", [-60, 60], ids=["older", "younger"])
def test_the_owner_of_a_reused_pid_is_left_alone(apart: int) -> None:
    with scene() as (directory, here), stranger() as owner:
        here.add_gate("task")
        uid = launch_and_leave(directory, {"task": here.spec(shell(WAITS))})["task"].uid
        until(here.started)
        holder = shim_of(f"{uid}/1")
        assert proc.send(holder, signal.SIGKILL)
        end_marked(directory)
        head = os.open(directory / "state" / "logs" / f"{uid}.1", os.O_RDWR)
        _, started_at, started_monotonic = struct.unpack("<qqq", os.pread(head, 24, 0))
        os.pwrite(head, struct.pack("<qqq", owner.pid, started_at, started_monotonic + apart * 10**9), 0)
        os.close(head)

        with Agent(directory) as agent:
            status = until_ended(agent.stub, "task")
            agent.check_log()

        assert status.state == task_pb2.TASK_STATE_LOST
        assert status.outcome.cause == task_pb2.CAUSE_SUPERVISION_LOST
        assert _is_untouched(owner)


def _is_untouched(process: proc.Process) -> bool:
    now = proc.read(process.pid)
    children = [proc.read(child) for child in proc.children(process.pid)]
    return (
        now is not None
        and now.key == process.key
        and now.state == "S"
        and [each and each.state for each in children] == ["S"]
    )
