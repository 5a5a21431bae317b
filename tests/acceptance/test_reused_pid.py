"""A pid that has become a stranger's: its owner is never taken for the task, and never signalled."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import grpc
import pytest
from support.agent import Agent, until_ended
from support.evidence import REFUSES_SIGTERM
from support.left_running import edit, end_marked, launch_and_leave, scene
from support.tasks import plan, shell
from support.waiting import until

from farspawn.v1 import launcher_pb2 as pb
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


@pytest.mark.parametrize("was_being_killed", [False, True])
def test_the_owner_of_a_reused_pid_is_left_alone(*, was_being_killed: bool) -> None:
    with scene() as (directory, here), stranger() as owner:
        here.add_gate("task")
        spec = here.spec(shell(REFUSES_SIGTERM))
        launch_and_leave(directory, {"task": spec}, stop=plan(grace=60) if was_being_killed else None)
        until(here.started)
        end_marked(directory)
        edit(directory, "task", pid=owner.pid)
        if was_being_killed:
            edit(directory, "task", times__killed=1)

        with Agent(directory) as agent:
            status = until_ended(agent.stub, "task")
            agent.stub.StopTask(pb.StopTaskRequest(task_id="task", plan=plan(grace=0)))
            with pytest.raises(grpc.RpcError) as refused:
                agent.stub.SignalTask(pb.SignalTaskRequest(task_id="task", signal=9, scope=pb.SIGNAL_SCOPE_TREE))
            agent.check_log()

        assert status.state == task_pb2.TASK_STATE_LOST
        assert status.outcome.cause == task_pb2.CAUSE_SUPERVISION_LOST
        assert refused.value.code() is grpc.StatusCode.FAILED_PRECONDITION
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
