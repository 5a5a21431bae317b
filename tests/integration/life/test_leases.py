"""A lease lives as long as somebody asks for the task, and gets its full span again when the agent comes back."""

from __future__ import annotations

import os
import signal
import threading
import time

import grpc
import pytest
from support.agent import Agent, until_ended
from support.processes import REFUSES_SIGTERM
from support.specs import start
from support.tasks import members, new_id, plan, reporting, span, status_of, stop
from support.waiting import PATIENCE, until

from farspawn.v1 import launcher_pb2 as pb
from farspawn.v1 import task_pb2

TTL = 1.0
STOP, KILL = task_pb2.LEASE_ACTION_STOP, task_pb2.LEASE_ACTION_KILL


def leased(agent: Agent, ttl: float = TTL, label: str = "") -> task_pb2.TaskStatus:
    spec = task_pb2.TaskSpec(
        argv=["sleep", "60"], lease=task_pb2.Lease(ttl=span(ttl)), labels={"watched": label} if label else {}
    )
    return start(agent.stub, spec)


def age(status: task_pb2.TaskStatus) -> float:
    """How long a task has run or ran, in seconds of the wall clock, which nobody sets during a test."""
    ended = status.times.ended.ToNanoseconds() or time.time_ns()
    return (ended - status.times.started.ToNanoseconds()) / 1e9


@pytest.mark.slow
def test_an_open_watch_keeps_the_leases_of_what_it_watches_and_of_nothing_else(agent: Agent) -> None:
    label = new_id()
    request = pb.WatchTasksRequest(filter=pb.TaskFilter(labels={"watched": label}), renew_leases=True)
    changes = agent.stub.WatchTasks(request, timeout=PATIENCE)
    threading.Thread(target=drain, args=(changes,), daemon=True).start()
    watched, unwatched = leased(agent, label=label), leased(agent)

    ended = until_ended(agent.stub, unwatched.task_id)
    until(lambda: age(watched) > 3 * TTL)
    before = status_of(agent.stub, watched.task_id)
    changes.cancel()
    let_go = until_ended(agent.stub, watched.task_id)

    assert ended.outcome.cause == task_pb2.CAUSE_LEASE_EXPIRED
    assert before.state == task_pb2.TASK_STATE_RUNNING
    assert let_go.outcome.cause == task_pb2.CAUSE_LEASE_EXPIRED


def drain(changes: grpc.Call) -> None:
    try:
        for _ in changes:  # type: ignore[attr-defined]  # a stream is also its call
            pass
    except grpc.RpcError:
        pass  # cancelled: what the test wants


def test_a_watch_that_does_not_ask_for_it_renews_nothing(agent: Agent) -> None:
    label = new_id()
    changes = agent.stub.WatchTasks(
        pb.WatchTasksRequest(filter=pb.TaskFilter(labels={"watched": label})), timeout=PATIENCE
    )
    threading.Thread(target=drain, args=(changes,), daemon=True).start()

    ended = until_ended(agent.stub, leased(agent, label=label).task_id)
    changes.cancel()

    assert ended.outcome.cause == task_pb2.CAUSE_LEASE_EXPIRED


@pytest.mark.slow
def test_a_poll_that_waits_keeps_the_lease(agent: Agent) -> None:
    task = leased(agent)
    revision = status_of(agent.stub, task.task_id).revision

    request = pb.PollRequest(task_ids=[task.task_id], wait=span(3 * TTL), since_revision=revision, renew_leases=True)
    changed = agent.stub.Poll(request, timeout=PATIENCE).statuses
    ended = until_ended(agent.stub, task.task_id)

    assert not changed
    assert age(ended) >= 4 * TTL - 0.1


def test_a_lease_gets_its_full_span_again_when_the_server_comes_back(own_agent: Agent) -> None:
    ttl = 2.0
    task = leased(own_agent, ttl)
    os.kill(own_agent.server_pid, signal.SIGSTOP)
    until(lambda: age(task) > ttl)  # over, and nobody noticed

    own_agent.kill_server()
    back = own_agent.stub.GetSite(pb.GetSiteRequest()).site.server_started.ToNanoseconds()
    alive = status_of(own_agent.stub, task.task_id).state
    ended = until_ended(own_agent.stub, task.task_id)

    assert alive == task_pb2.TASK_STATE_RUNNING
    assert ended.outcome.cause == task_pb2.CAUSE_LEASE_EXPIRED
    assert ended.times.stop_requested.ToNanoseconds() - back >= ttl * 1e9


def test_a_renewal_that_the_server_was_too_late_to_hear_counts(own_agent: Agent) -> None:
    task, server = leased(own_agent), own_agent.server_pid
    os.kill(server, signal.SIGSTOP)
    renewal = own_agent.stub.Poll.future(pb.PollRequest(task_ids=[task.task_id], renew_leases=True), timeout=PATIENCE)
    until(lambda: age(task) > 2 * TTL)
    os.kill(server, signal.SIGCONT)

    (heard,) = renewal.result().statuses
    continued = time.time_ns()
    ended = until_ended(own_agent.stub, task.task_id)

    assert heard.state == task_pb2.TASK_STATE_RUNNING
    assert ended.outcome.cause == task_pb2.CAUSE_LEASE_EXPIRED
    assert ended.times.stop_requested.ToNanoseconds() - continued > 0.7 * TTL * 1e9


@pytest.mark.parametrize(("action", "signalled"), [(STOP, True), (KILL, False)])
def test_a_lease_that_is_over_stops_by_the_plan_or_kills_at_once(
    agent: Agent, action: task_pb2.LeaseAction.ValueType, signalled: bool
) -> None:
    spec = task_pb2.TaskSpec(
        argv=reporting(REFUSES_SIGTERM),
        lease=task_pb2.Lease(ttl=span(TTL), action=action),
        stop=plan(linger=0.2, grace=0.2),
    )
    task = start(agent.stub, spec)
    members(agent.stub, task.task_id, 1)

    ended = until_ended(agent.stub, task.task_id)

    assert ended.outcome.cause == task_pb2.CAUSE_LEASE_EXPIRED
    assert ended.outcome.signal == signal.SIGKILL
    assert ended.times.HasField("signalled") == signalled
    assert not ended.outcome.stopped_by


def test_a_stop_that_is_under_way_is_not_made_worse_by_a_lease(agent: Agent) -> None:
    spec = task_pb2.TaskSpec(argv=["sleep", "60"], lease=task_pb2.Lease(ttl=span(TTL), action=KILL))
    task = start(agent.stub, spec)

    stop(agent.stub, task.task_id, plan(linger=1.5 * TTL))
    ended = until_ended(agent.stub, task.task_id)

    assert ended.outcome.cause == task_pb2.CAUSE_STOP_REQUESTED
    assert ended.outcome.signal == signal.SIGTERM
