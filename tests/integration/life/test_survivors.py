"""What even SIGKILL does not end is listed, and keeps nobody from anything.

The stand-in for a process in uninterruptible sleep is one that a cgroup v1 freezer holds: it ends when it is thawed.
"""

from __future__ import annotations

import os
import signal
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from support.agent import AT_ONCE, Agent, until_ended
from support.processes import Member
from support.specs import ALWAYS, cleanup, restart, start
from support.tasks import launch, members, output, plan, reporting, status_of, stop
from support.waiting import PATIENCE, until

from farspawn.v1 import launcher_pb2 as pb
from farspawn.v1 import task_pb2
from farspawn_core import proc

pytestmark = pytest.mark.slow  # ten seconds must pass before somebody is called a survivor

_FREEZER = Path("/sys/fs/cgroup/freezer")
_PATIENCE = 60.0

WITH_A_CHILD = """
if child(of_its_own_session=True):
    report("child")
    stay()
report("leader")
stay()
"""
FAILS_BESIDE_A_CHILD = """
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
told, tell = os.pipe()
if child(of_its_own_session=True):
    report("child")
    os.write(tell, b".")
    stay()
os.read(told, 1)
signal.sigwait([signal.SIGUSR1])
os._exit(3)
"""


class Freezer:
    """A group whose processes nothing ends until they are thawed."""

    def __init__(self, path: Path) -> None:
        path.mkdir()
        self._path = path

    def freeze(self, pid: int) -> None:
        (self._path / "cgroup.procs").write_text(str(pid))
        (self._path / "freezer.state").write_text("FROZEN")
        until(lambda: (self._path / "freezer.state").read_text() == "FROZEN\n")

    def thaw(self) -> None:
        (self._path / "freezer.state").write_text("THAWED")

    def close(self) -> None:
        self.thaw()
        for pid in (self._path / "cgroup.procs").read_text().split():
            with suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        until(lambda: not (self._path / "cgroup.procs").read_text())
        self._path.rmdir()


@pytest.fixture
def freezer() -> Iterator[Freezer]:
    """A freezer of the test's own, empty again at its end."""
    if os.geteuid() or not (_FREEZER / "cgroup.procs").exists():
        pytest.skip("needs root and a cgroup v1 freezer")
    try:
        group = Freezer(_FREEZER / f"farspawn-test-{uuid.uuid4().hex}")
    except OSError as error:
        pytest.skip(f"no cgroup v1 freezer that we may use: {error}")
    yield group
    group.close()


def child_of(family: list[Member]) -> Member:
    return next(member for member in family if member.word == "child")


def is_gone(member: Member) -> bool:
    process = proc.read(member.pid)
    return process is None or process.start_time != member.start_time


def test_a_survivor_is_listed_with_name_and_reason_and_the_agent_goes_on(own_agent: Agent, freezer: Freezer) -> None:
    task_id = launch(own_agent.stub, reporting(WITH_A_CHILD)).status.task_id
    survivor = child_of(members(own_agent.stub, task_id, 2))
    freezer.freeze(survivor.pid)

    stop(own_agent.stub, task_id, AT_ONCE)
    beside = launch(own_agent.stub, ["echo", "beside"]).status.task_id
    assert output(own_agent.stub, beside) == b"beside\n"
    ended = until_ended(own_agent.stub, task_id, _PATIENCE)

    (listed,) = ended.outcome.survivors
    assert (listed.pid, listed.name[:6]) == (survivor.pid, "python")
    assert listed.reason == "uninterruptible sleep"
    assert ended.state == task_pb2.TASK_STATE_EXITED
    assert ended.outcome.signal == signal.SIGKILL
    assert ended.outcome.cause == task_pb2.CAUSE_STOP_REQUESTED
    # Counted on another clock than these are, from the moment before.
    assert ended.times.ended.ToNanoseconds() - ended.times.killed.ToNanoseconds() >= 9.9e9
    # It may still write: nobody can say that its output is complete.
    (*_, last) = own_agent.stub.ReadLogs(pb.ReadLogsRequest(task_id=task_id, follow=True), timeout=PATIENCE)
    assert not last.end.complete
    own_agent.kill_server()
    assert status_of(own_agent.stub, task_id) == ended
    freezer.thaw()
    until(lambda: is_gone(survivor))


def test_a_leader_that_survives_is_waited_for_and_its_exit_is_told(own_agent: Agent, freezer: Freezer) -> None:
    task_id = launch(own_agent.stub, reporting(WITH_A_CHILD)).status.task_id
    family = members(own_agent.stub, task_id, 2)
    leader = next(member for member in family if member.word == "leader")
    freezer.freeze(leader.pid)

    stop(own_agent.stub, task_id, AT_ONCE)
    until(lambda: not child_of(family).alive)
    still = status_of(own_agent.stub, task_id)
    freezer.thaw()
    ended = until_ended(own_agent.stub, task_id, _PATIENCE)

    assert still.state == task_pb2.TASK_STATE_STOPPING
    assert ended.outcome.signal == signal.SIGKILL
    assert not ended.outcome.survivors


def test_a_survivor_keeps_no_cleanup_from_its_end(own_agent: Agent, freezer: Freezer) -> None:
    spec = task_pb2.TaskSpec(argv=reporting(WITH_A_CHILD), cleanup=cleanup(["echo", "cleaned"]))
    task_id = start(own_agent.stub, spec).task_id
    survivor = child_of(members(own_agent.stub, task_id, 2))
    freezer.freeze(survivor.pid)

    stop(own_agent.stub, task_id, AT_ONCE)
    ended = until_ended(own_agent.stub, task_id, _PATIENCE)

    assert [each.pid for each in ended.outcome.survivors] == [survivor.pid]
    assert ended.outcome.cleanup.exit_code == 0
    freezer.thaw()
    until(lambda: is_gone(survivor))


def test_a_survivor_of_one_attempt_is_none_of_the_next(own_agent: Agent, freezer: Freezer) -> None:
    spec = task_pb2.TaskSpec(
        argv=reporting("if os.environ['FARSPAWN_ATTEMPT'] == '2': os._exit(0)\n" + FAILS_BESIDE_A_CHILD),
        stop=plan(grace=0),
        restart=restart(ALWAYS, most=1),
    )
    task = start(own_agent.stub, spec)
    survivor = child_of(members(own_agent.stub, task.task_id, 1))
    freezer.freeze(survivor.pid)

    os.kill(task.pid, signal.SIGUSR1)
    ended = until_ended(own_agent.stub, task.task_id, _PATIENCE)

    (first,) = ended.earlier_attempts
    assert [each.pid for each in first.outcome.survivors] == [survivor.pid]
    assert (first.outcome.exit_code, ended.outcome.exit_code) == (3, 0)
    assert not ended.outcome.survivors
    freezer.thaw()
    until(lambda: is_gone(survivor))
