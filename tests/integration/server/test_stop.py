"""StopTask: linger, drain, signal, grace, SIGKILL."""

from __future__ import annotations

import os
import signal
import time

import grpc
import pytest
from support.agent import AT_ONCE, Agent, until_ended
from support.processes import ENDS_WITH_7_ON_SIGTERM, REFUSES_SIGTERM, STAYS, state
from support.tasks import first_lines, launch, members, output, plan, reporting, status_of, stop
from support.waiting import PATIENCE, until

from farspawn.v1 import launcher_pb2 as pb
from farspawn.v1 import task_pb2

# The kernel queues real-time signals where it merges others, and hands out the lower one first: none goes uncounted.
COUNTS_STOPS_UNTIL_TOLD = """
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGRTMIN, signal.SIGRTMAX})
report()
while signal.sigwait({signal.SIGRTMIN, signal.SIGRTMAX}) == signal.SIGRTMIN:
    os.write(1, b"asked\\n")
os._exit(7)
"""


def ready(agent: Agent, body: str, **options: object) -> str:
    """Launch a `reporting` program, wait until it is ready, and return its id."""
    task_id = launch(agent.stub, reporting(body), **options).status.task_id  # type: ignore[arg-type]
    members(agent.stub, task_id, 1)
    return task_id


def test_a_stop_without_a_plan_sends_sigterm(agent: Agent) -> None:
    task_id = ready(agent, STAYS)

    status = stop(agent.stub, task_id)
    ended = until_ended(agent.stub, task_id)

    assert status.state == task_pb2.TASK_STATE_STOPPING
    assert ended.outcome.signal == signal.SIGTERM
    assert ended.outcome.cause == task_pb2.CAUSE_STOP_REQUESTED
    assert ended.outcome.stopped_by == "local"
    assert ended.times.HasField("stop_requested")
    assert ended.times.HasField("signalled")
    assert not ended.times.HasField("killed")


def test_a_stopped_task_that_ends_in_its_own_way_keeps_its_exit_code(agent: Agent) -> None:
    task_id = ready(agent, ENDS_WITH_7_ON_SIGTERM)

    stop(agent.stub, task_id)

    ended = until_ended(agent.stub, task_id)
    assert ended.outcome.exit_code == 7
    assert ended.outcome.cause == task_pb2.CAUSE_STOP_REQUESTED


def test_a_task_that_ignores_sigterm_is_killed_after_its_grace(agent: Agent) -> None:
    task_id = ready(agent, REFUSES_SIGTERM)
    before = time.monotonic()

    stop(agent.stub, task_id, plan(grace=0.4))
    ended = until_ended(agent.stub, task_id)

    assert time.monotonic() - before >= 0.4
    assert ended.outcome.signal == signal.SIGKILL
    assert ended.times.killed.ToNanoseconds() - ended.times.signalled.ToNanoseconds() >= 380_000_000
    assert ended.outcome.cause == task_pb2.CAUSE_STOP_REQUESTED


def test_a_grace_of_zero_is_sigkill_at_once_and_no_other_signal(agent: Agent) -> None:
    task_id = ready(agent, "signal.signal(15, lambda *_: os.write(1, b'asked')); report(); stay()")

    stop(agent.stub, task_id, AT_ONCE)
    ended = until_ended(agent.stub, task_id)

    assert ended.outcome.signal == signal.SIGKILL
    assert ended.times.HasField("killed")
    assert not ended.times.HasField("signalled")
    assert b"asked" not in output(agent.stub, task_id)


@pytest.mark.parametrize("name", ["linger", "drain"])
def test_a_task_may_end_by_itself_during(agent: Agent, name: str) -> None:
    task_id = ready(agent, "report(); signal.sigwait([signal.SIGUSR1]); os._exit(5)")
    stop(agent.stub, task_id, plan(**{name: 3600}))

    os.kill(status_of(agent.stub, task_id).pid, signal.SIGUSR1)

    ended = until_ended(agent.stub, task_id)
    assert ended.times.HasField("stop_requested")
    assert not ended.times.HasField("signalled")
    if ended.outcome.WhichOneof("ending") == "exit_code":  # else the signal came before it was waited for
        assert ended.outcome.exit_code == 5
    assert ended.outcome.cause == task_pb2.CAUSE_COMPLETED
    assert ended.outcome.stopped_by == ""


def test_linger_and_drain_follow_each_other_before_the_signal(agent: Agent) -> None:
    task_id = ready(agent, STAYS)

    stop(agent.stub, task_id, plan(linger=0.2, drain=0.2))
    times = until_ended(agent.stub, task_id).times

    assert times.signalled.ToNanoseconds() - times.stop_requested.ToNanoseconds() >= 380_000_000


def test_the_signal_of_the_plan_is_sent(agent: Agent) -> None:
    task_id = ready(agent, STAYS)

    stop(agent.stub, task_id, plan(signal=signal.SIGUSR2))

    assert until_ended(agent.stub, task_id).outcome.signal == signal.SIGUSR2


def test_unset_fields_of_the_plan_are_the_tasks_own(agent: Agent) -> None:
    task_id = ready(agent, REFUSES_SIGTERM, stop=plan(signal=signal.SIGUSR1, grace=3600))

    stop(agent.stub, task_id, plan(linger=0))

    assert until_ended(agent.stub, task_id).outcome.signal == signal.SIGUSR1


def test_a_stopped_process_sees_the_signal(agent: Agent) -> None:
    task_id = ready(agent, ENDS_WITH_7_ON_SIGTERM)
    pid = status_of(agent.stub, task_id).pid
    os.kill(pid, signal.SIGSTOP)
    until(lambda: (state(pid) or "?")[0] == "T")

    stop(agent.stub, task_id)

    assert until_ended(agent.stub, task_id).outcome.exit_code == 7


def test_a_second_stop_shortens_the_first(agent: Agent) -> None:
    task_id = ready(agent, STAYS)
    stop(agent.stub, task_id, plan(linger=3600))

    stop(agent.stub, task_id, plan(linger=0))

    assert until_ended(agent.stub, task_id).outcome.signal == signal.SIGTERM


def test_a_second_stop_shortens_the_grace_of_the_first(agent: Agent) -> None:
    task_id = ready(agent, REFUSES_SIGTERM)
    stop(agent.stub, task_id, plan(grace=3600))
    until(lambda: status_of(agent.stub, task_id).times.HasField("signalled"))

    stop(agent.stub, task_id, AT_ONCE)

    assert until_ended(agent.stub, task_id).outcome.signal == signal.SIGKILL


def test_a_second_stop_never_prolongs_the_first(agent: Agent) -> None:
    task_id = ready(agent, REFUSES_SIGTERM)
    stop(agent.stub, task_id, plan(grace=0.3))

    stop(agent.stub, task_id, plan(linger=3600, grace=3600))

    ended = until_ended(agent.stub, task_id)
    assert ended.outcome.signal == signal.SIGKILL
    assert ended.times.killed.ToNanoseconds() - ended.times.stop_requested.ToNanoseconds() < 10e9


def test_a_second_stop_keeps_the_time_of_the_first(agent: Agent) -> None:
    task_id = ready(agent, STAYS)
    first = stop(agent.stub, task_id, plan(linger=3600))

    second = stop(agent.stub, task_id, plan(linger=1800))

    assert second.times.stop_requested == first.times.stop_requested


@pytest.mark.parametrize("linger", [0, 0.1])
def test_many_stops_at_the_same_moment_are_one_stop(agent: Agent, linger: float) -> None:
    task_id = ready(agent, COUNTS_STOPS_UNTIL_TOLD)
    request = pb.StopTaskRequest(task_id=task_id, plan=plan(linger=linger, signal=signal.SIGRTMIN, grace=3600))

    calls = [agent.stub.StopTask.future(request) for _ in range(32)]
    answers = [call.result(PATIENCE).status for call in calls]
    first_lines(agent.stub, task_id, 2)
    os.kill(answers[0].pid, signal.SIGRTMAX)
    ended = until_ended(agent.stub, task_id)
    calls = [agent.stub.StopTask.future(request) for _ in range(32)]

    assert len({answer.times.stop_requested.ToNanoseconds() for answer in answers}) == 1
    assert output(agent.stub, task_id).count(b"asked") == 1
    assert (ended.outcome.exit_code, ended.outcome.cause) == (7, task_pb2.CAUSE_STOP_REQUESTED)
    assert ended.times.stop_requested == answers[0].times.stop_requested
    assert [call.result(PATIENCE).status for call in calls] == [ended] * 32


def test_stopping_an_ended_task_returns_its_final_state(agent: Agent) -> None:
    task_id = launch(agent.stub, ["true"]).status.task_id
    ended = until_ended(agent.stub, task_id)

    assert stop(agent.stub, task_id) == ended


def test_a_stop_goes_on_when_its_caller_is_gone(agent: Agent) -> None:
    task_id = ready(agent, REFUSES_SIGTERM)

    with grpc.insecure_channel(agent.address) as other:
        ask = other.unary_unary(
            "/farspawn.v1.TaskLauncher/StopTask",
            request_serializer=pb.StopTaskRequest.SerializeToString,
            response_deserializer=pb.StopTaskResponse.FromString,
        )
        ask(pb.StopTaskRequest(task_id=task_id, plan=plan(linger=0.2, grace=0.2)))

    assert until_ended(agent.stub, task_id).outcome.signal == signal.SIGKILL


def test_a_stop_returns_before_the_task_has_ended(agent: Agent) -> None:
    task_id = ready(agent, REFUSES_SIGTERM)

    status = stop(agent.stub, task_id, plan(grace=3600))

    assert status.state == task_pb2.TASK_STATE_STOPPING
    assert not status.HasField("outcome")
    assert status_of(agent.stub, task_id).state == task_pb2.TASK_STATE_STOPPING


def test_a_stopping_task_still_runs_and_writes_during_linger(agent: Agent) -> None:
    body = "signal.signal(signal.SIGUSR1, lambda *_: os.write(1, b'working\\n')); report(); stay()"
    task_id = ready(agent, body)
    stop(agent.stub, task_id, plan(linger=3600))

    os.kill(status_of(agent.stub, task_id).pid, signal.SIGUSR1)

    assert first_lines(agent.stub, task_id, 2)[1] == "working"
