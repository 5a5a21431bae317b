"""A stop against a restart policy, while what the leader left behind is being stopped."""

from __future__ import annotations

from support.agent import Agent, until_ended
from support.specs import restart, start, until_state
from support.tasks import plan, shell, stop

from farspawn.v1 import task_pb2

LEAVES_A_CHILD = shell("trap '' TERM; sleep 600 & exit 3")
ALWAYS = restart(task_pb2.RESTART_MODE_ALWAYS, most=1)


def test_a_task_is_restarted_after_what_its_leader_left_behind_was_stopped(agent: Agent) -> None:
    spec = task_pb2.TaskSpec(argv=LEAVES_A_CHILD, restart=ALWAYS, stop=plan(grace=0.1))
    task_id = start(agent.stub, spec).task_id

    ended = until_ended(agent.stub, task_id)

    assert (ended.attempt, ended.outcome.exit_code, ended.outcome.cause) == (2, 3, task_pb2.CAUSE_COMPLETED)


def test_a_stop_ends_a_task_for_good_while_what_its_leader_left_behind_is_being_stopped(agent: Agent) -> None:
    spec = task_pb2.TaskSpec(argv=LEAVES_A_CHILD, restart=ALWAYS, stop=plan(linger=60))
    task_id = start(agent.stub, spec).task_id
    until_state(agent.stub, task_id, task_pb2.TASK_STATE_STOPPING)

    stop(agent.stub, task_id, plan(linger=0, grace=0))

    ended = until_ended(agent.stub, task_id)
    assert (ended.attempt, ended.outcome.exit_code, ended.outcome.cause) == (1, 3, task_pb2.CAUSE_COMPLETED)
