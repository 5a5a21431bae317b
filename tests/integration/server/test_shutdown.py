"""The owner ends the agent: tasks are stopped by their plans, and all of it is recorded."""

from __future__ import annotations

import os
import signal

import grpc
import pytest
from support.agent import SERVING, Agent, until_ended
from support.processes import ENDS_WITH_7_ON_SIGTERM, LIKE_TORCHRUN, LIKE_TORCHRUN_SIZE, REFUSES_SIGTERM
from support.refused import refused
from support.tasks import launch, members, plan, reporting, span, status_of, stop
from support.waiting import PATIENCE, until

from farspawn.v1 import launcher_pb2 as pb
from farspawn.v1 import site_pb2, task_pb2

NOT_SERVING = 2


def reopened(agent: Agent, task_id: str) -> task_pb2.TaskStatus:
    """Start an agent on the same state and return what it knows of a task."""
    with Agent(agent.directory) as again:
        return status_of(again.stub, task_id)


def test_tasks_are_stopped_by_their_plans_and_recorded(own_agent: Agent) -> None:
    polite = launch(own_agent.stub, reporting(ENDS_WITH_7_ON_SIGTERM)).status.task_id
    family = launch(own_agent.stub, reporting(LIKE_TORCHRUN)).status.task_id
    members(own_agent.stub, polite, 1)
    everybody = members(own_agent.stub, family, LIKE_TORCHRUN_SIZE)

    code = own_agent.stop()

    assert code == 0
    assert not [member for member in everybody if member.alive]
    ended = reopened(own_agent, polite)
    assert ended.state == task_pb2.TASK_STATE_EXITED
    assert ended.outcome.exit_code == 7
    assert ended.outcome.cause == task_pb2.CAUSE_SITE_SHUTDOWN
    assert ended.outcome.stopped_by == ""


def test_a_second_sigterm_kills(own_agent: Agent) -> None:
    task_id = launch(own_agent.stub, reporting(REFUSES_SIGTERM), stop=plan(grace=3600)).status.task_id
    members(own_agent.stub, task_id, 1)
    own_agent.terminate()
    until(lambda: status_of(own_agent.stub, task_id).times.HasField("signalled"))

    own_agent.terminate()

    assert own_agent.wait() == 0
    ended = reopened(own_agent, task_id)
    assert ended.outcome.signal == signal.SIGKILL
    assert ended.outcome.cause == task_pb2.CAUSE_SITE_SHUTDOWN


def test_a_task_killed_by_the_second_sigterm_during_its_linger_did_not_end_by_itself(own_agent: Agent) -> None:
    task_id = launch(own_agent.stub, ["sleep", "60"], stop=plan(linger=3600)).status.task_id
    own_agent.terminate()
    until(lambda: status_of(own_agent.stub, task_id).state == task_pb2.TASK_STATE_STOPPING)

    own_agent.terminate()

    assert own_agent.wait() == 0
    ended = reopened(own_agent, task_id)
    assert ended.outcome.signal == signal.SIGKILL
    assert ended.outcome.cause == task_pb2.CAUSE_SITE_SHUTDOWN


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_both_signals_of_an_owner_end_an_idle_agent(own_agent: Agent, number: int) -> None:
    os.kill(own_agent.keeper_pid, number)

    assert own_agent.wait() == 0


def test_while_draining_the_site_says_so_and_takes_no_new_tasks(own_agent: Agent) -> None:
    task_id = launch(own_agent.stub, reporting(REFUSES_SIGTERM), stop=plan(grace=3600)).status.task_id
    members(own_agent.stub, task_id, 1)
    own_agent.terminate()
    until(lambda: own_agent.health() == NOT_SERVING)

    told = refused(lambda: launch(own_agent.stub, ["true"]))

    assert own_agent.health("farspawn.v1.TaskLauncher") == NOT_SERVING
    assert own_agent.stub.GetSite(pb.GetSiteRequest()).site.state == site_pb2.SITE_STATE_DRAINING
    assert (told.code, told.reason, told.domain) == (grpc.StatusCode.UNAVAILABLE, "DRAINING", "farspawn")
    assert told.retry_after is not None


def test_while_draining_everything_but_launching_works(own_agent: Agent) -> None:
    spec = task_pb2.TaskSpec(argv=reporting(REFUSES_SIGTERM), stop=plan(grace=3600))
    request = pb.LaunchTaskRequest(task_id="stubborn", spec=spec)
    own_agent.stub.LaunchTask(request)
    members(own_agent.stub, "stubborn", 1)
    own_agent.terminate()
    until(lambda: status_of(own_agent.stub, "stubborn").times.HasField("signalled"))

    assert not own_agent.stub.LaunchTask(request).created
    assert [task.status.task_id for task in own_agent.stub.ListTasks(pb.ListTasksRequest()).tasks] == ["stubborn"]
    stop(own_agent.stub, "stubborn", plan(grace=0.2))
    assert own_agent.wait() == 0


def test_a_shutdown_goes_on_when_the_server_is_killed(own_agent: Agent) -> None:
    task_id = launch(own_agent.stub, reporting(REFUSES_SIGTERM), stop=plan(grace=3)).status.task_id
    members(own_agent.stub, task_id, 1)
    own_agent.terminate()
    until(lambda: status_of(own_agent.stub, task_id).times.HasField("signalled"))
    os.kill(own_agent.server_pid, signal.SIGKILL)

    assert own_agent.wait() == 0
    ended = reopened(own_agent, task_id)
    assert ended.outcome.signal == signal.SIGKILL
    assert ended.outcome.cause == task_pb2.CAUSE_SITE_SHUTDOWN


def test_those_who_wait_are_told_to_go_on_with_the_next_server(own_agent: Agent) -> None:
    task_id = launch(own_agent.stub, reporting(REFUSES_SIGTERM), stop=plan(grace=0.5)).status.task_id
    members(own_agent.stub, task_id, 1)
    stream = own_agent.stub.WatchTasks(pb.WatchTasksRequest())
    own_agent.terminate()

    told = refused(lambda: list(stream))

    assert (told.code, told.reason) == (grpc.StatusCode.UNAVAILABLE, "DRAINING")
    own_agent.wait()


def test_the_last_state_is_told_to_a_long_poll_before_the_server_ends(own_agent: Agent) -> None:
    task = launch(own_agent.stub, ["sleep", "60"]).status
    request = pb.PollRequest(task_ids=[task.task_id], wait=span(60), since_revision=task.revision)
    waiting = own_agent.stub.Poll.future(request)
    assert own_agent.health() == SERVING

    own_agent.terminate()

    (told,) = waiting.result(timeout=PATIENCE).statuses
    assert told.times.HasField("stop_requested")
    own_agent.wait()


def test_an_agent_can_be_started_again_on_its_state(own_agent: Agent) -> None:
    task_id = launch(own_agent.stub, ["true"]).status.task_id
    ended = until_ended(own_agent.stub, task_id)
    own_agent.stop()

    assert reopened(own_agent, task_id) == ended
