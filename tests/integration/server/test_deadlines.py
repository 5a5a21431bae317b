"""What the site itself owes a task: an end when its time is over or nobody asks for it any more."""

from __future__ import annotations

import signal

import pytest
from google.protobuf.duration_pb2 import Duration
from support.agent import Agent, until_ended
from support.processes import REFUSES_SIGTERM
from support.tasks import launch, members, plan, reporting, span, status_of, stop

from farspawn.v1 import launcher_pb2 as pb
from farspawn.v1 import task_pb2

STOP = task_pb2.LEASE_ACTION_STOP
KILL = task_pb2.LEASE_ACTION_KILL


def test_a_task_is_stopped_by_its_plan_when_its_time_is_over(agent: Agent) -> None:
    task = launch(agent.stub, ["sleep", "60"], max_runtime=0.3, stop=plan(signal=signal.SIGINT))

    ended = until_ended(agent.stub, task.status.task_id)

    assert ended.outcome.signal == signal.SIGINT
    assert ended.outcome.cause == task_pb2.CAUSE_MAX_RUNTIME
    assert ended.outcome.stopped_by == ""
    assert ended.times.signalled.ToNanoseconds() - ended.times.started.ToNanoseconds() >= 300_000_000


def test_a_task_that_refuses_to_end_in_time_is_killed(agent: Agent) -> None:
    task_id = launch(agent.stub, reporting(REFUSES_SIGTERM), max_runtime=0.5, stop=plan(grace=0.2)).status.task_id
    members(agent.stub, task_id, 1)

    ended = until_ended(agent.stub, task_id)

    assert ended.outcome.signal == signal.SIGKILL
    assert ended.outcome.cause == task_pb2.CAUSE_MAX_RUNTIME


def test_a_task_that_ends_in_time_has_completed(agent: Agent) -> None:
    task = launch(agent.stub, ["true"], max_runtime=3600)

    assert until_ended(agent.stub, task.status.task_id).outcome.cause == task_pb2.CAUSE_COMPLETED


@pytest.mark.parametrize(
    ("action", "ending"),
    [(task_pb2.LEASE_ACTION_UNSPECIFIED, signal.SIGTERM), (STOP, signal.SIGTERM), (KILL, signal.SIGKILL)],
)
def test_a_lease_that_nobody_renews_ends_its_task(
    agent: Agent, action: task_pb2.LeaseAction.ValueType, ending: signal.Signals
) -> None:
    task = launch(agent.stub, ["sleep", "60"], lease=task_pb2.Lease(ttl=span(1), action=action))

    ended = until_ended(agent.stub, task.status.task_id)

    assert ended.outcome.signal == ending
    assert ended.outcome.cause == task_pb2.CAUSE_LEASE_EXPIRED
    assert ended.times.stop_requested.ToNanoseconds() - ended.times.created.ToNanoseconds() >= 1_000_000_000


def test_a_long_poll_longer_than_the_ttl_renews_the_lease_all_the_time(agent: Agent) -> None:
    status = launch(agent.stub, ["sleep", "60"], lease=task_pb2.Lease(ttl=span(1), action=KILL)).status
    request = pb.PollRequest(
        task_ids=[status.task_id], wait=span(2.5), since_revision=status.revision, renew_leases=True
    )

    reply = agent.stub.Poll(request)

    assert list(reply.statuses) == []
    assert status_of(agent.stub, status.task_id).state == task_pb2.TASK_STATE_RUNNING


def test_a_lease_is_over_a_full_ttl_after_the_last_renewal(agent: Agent) -> None:
    status = launch(agent.stub, ["sleep", "60"], lease=task_pb2.Lease(ttl=span(1), action=KILL)).status
    renew = pb.PollRequest(task_ids=[status.task_id], wait=span(0.5), since_revision=status.revision, renew_leases=True)
    agent.stub.Poll(renew)

    ended = until_ended(agent.stub, status.task_id)

    assert ended.times.killed.ToNanoseconds() - ended.times.created.ToNanoseconds() >= 1_500_000_000


def test_a_poll_that_does_not_renew_lets_the_lease_run_out(agent: Agent) -> None:
    status = launch(agent.stub, ["sleep", "60"], lease=task_pb2.Lease(ttl=span(1), action=KILL)).status
    request = pb.PollRequest(task_ids=[status.task_id], wait=span(30), since_revision=status.revision)

    (told,) = agent.stub.Poll(request).statuses

    assert told.state == task_pb2.TASK_STATE_STOPPING
    assert until_ended(agent.stub, status.task_id).outcome.cause == task_pb2.CAUSE_LEASE_EXPIRED


def test_a_stop_that_was_asked_for_keeps_its_cause_when_the_time_is_over_too(agent: Agent) -> None:
    task_id = launch(agent.stub, reporting(REFUSES_SIGTERM), max_runtime=0.5).status.task_id
    members(agent.stub, task_id, 1)

    stop(agent.stub, task_id, plan(linger=0.2, grace=1))

    ended = until_ended(agent.stub, task_id)
    assert ended.outcome.cause in (task_pb2.CAUSE_STOP_REQUESTED, task_pb2.CAUSE_MAX_RUNTIME)
    assert (ended.outcome.stopped_by == "local") == (ended.outcome.cause == task_pb2.CAUSE_STOP_REQUESTED)


def test_the_greatest_spans_are_taken(agent: Agent) -> None:
    ten_years = Duration(seconds=3650 * 24 * 3600)
    spec = task_pb2.TaskSpec(
        argv=["sleep", "60"],
        stop=task_pb2.StopPlan(linger=ten_years, drain=ten_years, grace=ten_years),
        max_runtime=ten_years,
        lease=task_pb2.Lease(ttl=ten_years),
    )

    task = agent.stub.LaunchTask(pb.LaunchTaskRequest(spec=spec)).task

    assert stop(agent.stub, task.status.task_id).state == task_pb2.TASK_STATE_STOPPING
