"""A task is all that it started: at its end nothing of that is left."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from support.agent import AT_ONCE, Agent, until_ended
from support.processes import (
    DOUBLE_FORKS,
    FORK_BOMB,
    GOES_ON_WITHOUT_ITS_FIRST_THREAD,
    LEAVES_A_NAMELESS_MEMBER,
    LIKE_TORCHRUN,
    LIKE_TORCHRUN_SIZE,
    STAYS_BESIDE_ITS_DAEMON,
)
from support.tasks import launch, members, plan, reporting, status_of, stop
from support.waiting import until

from farspawn.v1 import task_pb2

# Leader and child; both refuse SIGTERM, the child in a session of its own.
STUBBORN_FAMILY = """
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child(of_its_own_session=True)
report()
stay()
"""
# The leader ends at once with 4; its child refuses SIGTERM.
LEAVES_A_STUBBORN_CHILD = """
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if child(of_its_own_session=True):
    report()
    stay()
os._exit(4)
"""


def test_sigterm_reaches_every_session_of_the_tree(agent: Agent) -> None:
    task_id = launch(agent.stub, reporting(LIKE_TORCHRUN)).status.task_id
    family = members(agent.stub, task_id, LIKE_TORCHRUN_SIZE)

    stop(agent.stub, task_id, plan(grace=3600))
    until_ended(agent.stub, task_id)

    assert not [member for member in family if member.alive]


def test_sigkill_reaches_every_session_of_the_tree(agent: Agent) -> None:
    task_id = launch(agent.stub, reporting(LIKE_TORCHRUN)).status.task_id
    family = members(agent.stub, task_id, LIKE_TORCHRUN_SIZE)

    stop(agent.stub, task_id, AT_ONCE)
    until_ended(agent.stub, task_id)

    assert not [member for member in family if member.alive]


def test_a_stubborn_family_is_killed_after_its_grace(agent: Agent) -> None:
    task_id = launch(agent.stub, reporting(STUBBORN_FAMILY)).status.task_id
    family = members(agent.stub, task_id, 2)

    stop(agent.stub, task_id, plan(grace=0.2))
    ended = until_ended(agent.stub, task_id)

    assert ended.outcome.signal == signal.SIGKILL
    assert not [member for member in family if member.alive]


def test_a_daemon_that_double_forked_is_gone_with_its_task(agent: Agent) -> None:
    task_id = launch(agent.stub, reporting(STAYS_BESIDE_ITS_DAEMON)).status.task_id
    family = members(agent.stub, task_id, 2)

    stop(agent.stub, task_id)
    until_ended(agent.stub, task_id)

    assert not [member for member in family if member.alive]


def test_a_daemon_left_by_a_leader_that_ended_is_stopped_by_the_plan(agent: Agent) -> None:
    task_id = launch(agent.stub, reporting(DOUBLE_FORKS)).status.task_id
    family = members(agent.stub, task_id, 2)

    ended = until_ended(agent.stub, task_id)

    assert ended.outcome.exit_code == 0
    assert ended.outcome.cause == task_pb2.CAUSE_COMPLETED
    assert ended.times.HasField("signalled")
    assert not [member for member in family if member.alive]


def test_a_task_whose_leader_ended_is_stopping_until_the_rest_is_gone(agent: Agent) -> None:
    task_id = launch(agent.stub, reporting(LEAVES_A_STUBBORN_CHILD), stop=plan(grace=3600)).status.task_id
    (left,) = members(agent.stub, task_id, 1)
    until(lambda: has_lost_its_leader(agent, task_id))
    assert left.alive
    assert status_of(agent.stub, task_id).state == task_pb2.TASK_STATE_STOPPING

    stop(agent.stub, task_id, AT_ONCE)
    ended = until_ended(agent.stub, task_id)

    assert ended.outcome.exit_code == 4
    assert ended.outcome.cause == task_pb2.CAUSE_COMPLETED
    assert ended.times.ended.ToNanoseconds() > ended.times.leader_exited.ToNanoseconds()
    assert not left.alive


def has_lost_its_leader(agent: Agent, task_id: str) -> bool:
    return status_of(agent.stub, task_id).times.HasField("leader_exited")


def test_what_a_leader_leaves_without_an_environment_is_stopped_too(agent: Agent) -> None:
    task_id = launch(agent.stub, reporting(LEAVES_A_NAMELESS_MEMBER), stop=plan(linger=3600)).status.task_id
    (left,) = members(agent.stub, task_id, 1)

    stop(agent.stub, task_id, plan(linger=0))
    until_ended(agent.stub, task_id)

    assert not left.alive


def test_a_leader_whose_first_thread_has_ended_still_runs(agent: Agent) -> None:
    task_id = launch(agent.stub, reporting(GOES_ON_WITHOUT_ITS_FIRST_THREAD)).status.task_id
    (leader,) = members(agent.stub, task_id, 1)
    os.kill(leader.pid, 0)
    assert agent.live_tasks()

    stop(agent.stub, task_id)

    assert until_ended(agent.stub, task_id).outcome.signal == signal.SIGTERM


def test_a_fork_bomb_is_ended(agent: Agent, tmp_path: Path) -> None:
    counter = tmp_path / "counter"
    counter.touch()
    task_id = launch(agent.stub, reporting(FORK_BOMB, str(counter))).status.task_id
    until(lambda: counter.stat().st_size >= 100)

    stop(agent.stub, task_id, AT_ONCE)
    until_ended(agent.stub, task_id)

    assert agent.task_processes() == []
