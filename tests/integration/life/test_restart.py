"""A program that ends is started again as its policy says, each time as an attempt of its own, until it is stopped."""

from __future__ import annotations

import itertools
import json
import os
import signal
import sqlite3
import time
from pathlib import Path

import grpc
import pytest
from support.agent import AT_ONCE, Agent, until_ended
from support.hanging import hung_program
from support.refused import refused
from support.specs import ALWAYS, NEVER, ON_FAILURE, cleanup, output_of_attempt, restart, start, until_state
from support.tasks import new_id, output, plan, shell, span, status_of, stop
from support.waiting import PATIENCE, until

from farspawn.v1 import launcher_pb2 as pb
from farspawn.v1 import task_pb2

PENDING = task_pb2.TASK_STATE_PENDING
RUNNING = task_pb2.TASK_STATE_RUNNING
FOR_EVER = 3600.0

SAYS_WHICH_AND_ENDS_WITH_IT = shell(
    "echo out $FARSPAWN_ATTEMPT; echo err $FARSPAWN_ATTEMPT >&2; exit $FARSPAWN_ATTEMPT"
)


@pytest.mark.parametrize(
    ("mode", "command", "attempts"),
    [
        (task_pb2.RESTART_MODE_UNSPECIFIED, ["false"], 1),
        (NEVER, ["false"], 1),
        (ON_FAILURE, ["true"], 1),
        (ON_FAILURE, ["false"], 3),
        (ON_FAILURE, shell("kill -9 $$"), 3),
        (ON_FAILURE, ["/nothing/of/this/name"], 3),
        (ALWAYS, ["true"], 3),
        (ALWAYS, ["false"], 3),
    ],
)
def test_a_task_is_started_again_as_often_as_its_policy_says(
    agent: Agent, mode: task_pb2.RestartMode.ValueType, command: list[str], attempts: int
) -> None:
    task = start(agent.stub, task_pb2.TaskSpec(argv=command, restart=restart(mode, most=2)))

    ended = until_ended(agent.stub, task.task_id)

    assert ended.attempt == attempts
    assert [each.number for each in ended.earlier_attempts] == list(range(1, attempts))
    assert {each.state for each in ended.earlier_attempts} <= {ended.state}


def test_a_program_that_succeeds_in_the_end_is_not_started_again(agent: Agent) -> None:
    spec = task_pb2.TaskSpec(argv=shell("[ $FARSPAWN_ATTEMPT -gt 2 ]"), restart=restart(ON_FAILURE))

    ended = until_ended(agent.stub, start(agent.stub, spec).task_id)

    assert [each.outcome.exit_code for each in ended.earlier_attempts] == [1, 1]
    assert ended.attempt == 3
    assert ended.outcome.exit_code == 0


def test_each_attempt_has_its_own_outcome_times_and_output(agent: Agent) -> None:
    spec = task_pb2.TaskSpec(argv=SAYS_WHICH_AND_ENDS_WITH_IT, restart=restart(ALWAYS, most=2))

    ended = until_ended(agent.stub, start(agent.stub, spec).task_id)

    assert [each.outcome.exit_code for each in ended.earlier_attempts] == [1, 2]
    assert ended.outcome.exit_code == 3
    moments = [*(each.times for each in ended.earlier_attempts), ended.times]
    assert {each.created.ToNanoseconds() for each in moments} == {ended.times.created.ToNanoseconds()}
    spans = [(each.started.ToNanoseconds(), each.ended.ToNanoseconds()) for each in moments]
    assert sorted(spans) == spans
    assert all(before[1] < after[0] for before, after in itertools.pairwise(spans))
    for number in (1, 2, 3):
        assert output_of_attempt(agent.stub, ended.task_id, number) == b"out %d\n" % number
        err = output_of_attempt(agent.stub, ended.task_id, number, pb.LOG_STREAM_STDERR)
        assert err == b"err %d\n" % number
    assert output(agent.stub, ended.task_id) == b"out 3\n"


@pytest.mark.parametrize("attempt", [-1, 3, 2**31 - 1])
def test_the_output_of_an_attempt_that_never_was_is_refused(agent: Agent, attempt: int) -> None:
    task = start(agent.stub, task_pb2.TaskSpec(argv=["true"], restart=restart(ALWAYS, most=1)))
    until_ended(agent.stub, task.task_id)

    no = refused(lambda: output_of_attempt(agent.stub, task.task_id, attempt))

    assert no.code is grpc.StatusCode.INVALID_ARGUMENT
    assert list(no.violations) == ["attempt"]


def test_the_output_of_an_earlier_attempt_is_complete_while_the_next_one_runs(agent: Agent) -> None:
    spec = task_pb2.TaskSpec(
        argv=shell("echo $FARSPAWN_ATTEMPT; [ $FARSPAWN_ATTEMPT = 1 ] || exec sleep 60"), restart=restart(ALWAYS)
    )
    task = start(agent.stub, spec)
    until(lambda: status_of(agent.stub, task.task_id).attempt == 2)

    request = pb.ReadLogsRequest(task_id=task.task_id, attempt=1, follow=True)
    parts = list(agent.stub.ReadLogs(request, timeout=PATIENCE))

    assert parts[0].header.attempt == 1
    assert parts[-1].end.complete


def test_only_the_last_twenty_earlier_attempts_are_remembered(agent: Agent) -> None:
    task = start(agent.stub, task_pb2.TaskSpec(argv=["true"], restart=restart(ALWAYS, most=23)))

    ended = until_ended(agent.stub, task.task_id)

    assert ended.attempt == 24
    assert [each.number for each in ended.earlier_attempts] == list(range(4, 24))


def test_restarts_before_a_healthy_run_do_not_count(agent: Agent) -> None:
    spec = task_pb2.TaskSpec(argv=["true"], restart=restart(ALWAYS, most=1, healthy=0))
    task = start(agent.stub, spec)

    until(lambda: status_of(agent.stub, task.task_id).attempt >= 5)
    stop(agent.stub, task.task_id)

    assert until_ended(agent.stub, task.task_id).attempt >= 5


def test_a_long_cleanup_makes_no_run_healthy(agent: Agent) -> None:
    policy = restart(ALWAYS, most=1, healthy=1)
    task = start(agent.stub, task_pb2.TaskSpec(argv=["true"], restart=policy, cleanup=cleanup(["sleep", "1.1"])))

    assert until_ended(agent.stub, task.task_id).attempt == 2


def test_a_stop_while_the_next_attempt_is_awaited_ends_the_task_with_the_last_outcome(agent: Agent) -> None:
    spec = task_pb2.TaskSpec(
        argv=SAYS_WHICH_AND_ENDS_WITH_IT, restart=restart(ALWAYS, first=FOR_EVER, longest=FOR_EVER)
    )
    task = start(agent.stub, spec)
    pending = until_state(agent.stub, task.task_id, PENDING)

    stopped = stop(agent.stub, task.task_id)

    assert pending.earlier_attempts[0].outcome == stopped.outcome
    assert stopped.state == task_pb2.TASK_STATE_EXITED
    assert stopped.outcome.exit_code == 1
    assert stopped.outcome.cause == task_pb2.CAUSE_COMPLETED
    assert stopped.attempt == 1
    assert not stopped.earlier_attempts


def test_a_stop_while_it_is_being_started_ends_a_task_for_good(agent: Agent, tmp_path: Path) -> None:
    with hung_program(tmp_path / "hangs") as program:
        task = start(agent.stub, task_pb2.TaskSpec(argv=[program.path], restart=restart(ALWAYS)))
        program.until_executing()
        assert task.state == task_pb2.TASK_STATE_STARTING

        stop(agent.stub, task.task_id, AT_ONCE)
        program.let_go()
        ended = until_ended(agent.stub, task.task_id)

    assert ended.attempt == 1
    assert ended.state in (task_pb2.TASK_STATE_EXITED, task_pb2.TASK_STATE_FAILED)


def test_a_stop_while_it_runs_ends_a_task_for_good(agent: Agent) -> None:
    task = start(agent.stub, task_pb2.TaskSpec(argv=["sleep", "60"], restart=restart(ALWAYS)))

    stop(agent.stub, task.task_id)
    ended = until_ended(agent.stub, task.task_id)

    assert ended.attempt == 1
    assert ended.outcome.cause == task_pb2.CAUSE_STOP_REQUESTED


def test_a_stop_that_came_too_late_to_end_the_leader_still_ends_the_task_for_good(agent: Agent) -> None:
    spec = task_pb2.TaskSpec(
        argv=shell("setsid sleep 60 & exit 4"), restart=restart(ALWAYS), stop=plan(linger=FOR_EVER)
    )
    task = start(agent.stub, spec)
    until_state(agent.stub, task.task_id, task_pb2.TASK_STATE_STOPPING)

    stop(agent.stub, task.task_id, AT_ONCE)
    ended = until_ended(agent.stub, task.task_id)

    assert ended.outcome.exit_code == 4
    # Asked for after the leader had ended by itself: what ended it was not the stop.
    assert ended.outcome.cause == task_pb2.CAUSE_COMPLETED
    assert ended.attempt == 1


def test_a_task_whose_time_was_over_is_not_started_again(agent: Agent) -> None:
    spec = task_pb2.TaskSpec(argv=["sleep", "60"], max_runtime=span(0.2), restart=restart(ALWAYS))

    ended = until_ended(agent.stub, start(agent.stub, spec).task_id)

    assert ended.attempt == 1
    assert ended.outcome.cause == task_pb2.CAUSE_MAX_RUNTIME


def test_a_lease_that_is_over_while_the_next_attempt_is_awaited_ends_the_task(agent: Agent) -> None:
    spec = task_pb2.TaskSpec(
        argv=shell("exit 3"),
        restart=restart(ALWAYS, first=FOR_EVER, longest=FOR_EVER),
        lease=task_pb2.Lease(ttl=span(1)),
    )
    task = start(agent.stub, spec)
    until_state(agent.stub, task.task_id, PENDING)

    ended = until_ended(agent.stub, task.task_id)

    assert ended.state == task_pb2.TASK_STATE_EXITED
    assert ended.outcome.exit_code == 3
    assert ended.attempt == 1


def test_a_server_that_was_killed_waits_for_the_same_moment_as_before(own_agent: Agent) -> None:
    spec = task_pb2.TaskSpec(argv=["true"], restart=restart(ALWAYS, first=1000, longest=1000))
    task = start(own_agent.stub, spec)
    before = until_state(own_agent.stub, task.task_id, PENDING)
    due = restart_at(own_agent)

    own_agent.kill_server()

    assert status_of(own_agent.stub, task.task_id) == before
    assert restart_at(own_agent) == due
    # Jitter takes off up to a half; it was decided a moment ago.
    assert 400e9 < due - time.monotonic_ns() <= 1000e9


def restart_at(agent: Agent) -> int:
    """When the next attempt of the agent's one task is due, as stored."""
    database = sqlite3.connect(f"file:{agent.state}/farspawn.db?mode=ro", uri=True)
    try:
        ((record,),) = database.execute("SELECT record FROM task")
    finally:
        database.close()
    due: int = json.loads(record)["restart_at"]
    return due


def test_an_attempt_that_fell_due_while_no_server_ran_is_started_once(own_agent: Agent, tmp_path: Path) -> None:
    evidence = tmp_path / "attempts"
    script = f"echo $FARSPAWN_ATTEMPT >>{evidence}; [ $FARSPAWN_ATTEMPT = 1 ] || exec sleep 60"
    task = start(own_agent.stub, task_pb2.TaskSpec(argv=shell(script), restart=restart(ALWAYS, first=1, longest=1)))
    until_state(own_agent.stub, task.task_id, PENDING)
    os.kill(own_agent.server_pid, signal.SIGSTOP)
    due = restart_at(own_agent)
    until(lambda: time.monotonic_ns() > due)

    own_agent.kill_server()
    until_state(own_agent.stub, task.task_id, RUNNING)

    until(lambda: evidence.read_text() == "1\n2\n")
    assert status_of(own_agent.stub, task.task_id).attempt == 2


def test_a_repeated_launch_of_a_task_between_two_attempts_starts_nothing(agent: Agent) -> None:
    spec = task_pb2.TaskSpec(argv=["true"], restart=restart(ALWAYS, first=FOR_EVER, longest=FOR_EVER))
    task = start(agent.stub, spec, new_id())
    pending = until_state(agent.stub, task.task_id, PENDING)

    again = agent.stub.LaunchTask(pb.LaunchTaskRequest(task_id=task.task_id, spec=spec))

    assert not again.created
    assert again.task.status == pending


def test_the_attempts_of_a_task_that_cannot_be_started_say_why(agent: Agent) -> None:
    task = start(agent.stub, task_pb2.TaskSpec(argv=["/nothing"], restart=restart(ON_FAILURE, most=1)))

    ended = until_ended(agent.stub, task.task_id)

    assert ended.state == task_pb2.TASK_STATE_FAILED
    failures = [each.outcome.launch_failure for each in (ended.earlier_attempts[0], ended)]
    assert [each.error_name for each in failures] == ["ENOENT", "ENOENT"]
