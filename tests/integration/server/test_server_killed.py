"""SIGKILL for the gRPC server: tasks run on, exits are known, stops and deadlines go on from where they were."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
from support.agent import AT_ONCE, FINAL, Agent, until_ended
from support.hanging import hung_program
from support.processes import (
    ENDS_WITH_7_ON_SIGTERM,
    LIKE_TORCHRUN,
    LIKE_TORCHRUN_SIZE,
    REFUSES_SIGTERM,
    is_alive,
    state,
)
from support.tasks import first_lines, launch, members, new_id, output, plan, reporting, shell, span, status_of, stop
from support.waiting import PATIENCE, until

from farspawn.v1 import launcher_pb2 as pb
from farspawn.v1 import task_pb2


def test_a_running_task_runs_on_and_stays_the_same(own_agent: Agent) -> None:
    before = launch(own_agent.stub, ["sleep", "60"]).status

    own_agent.kill_server()

    after = status_of(own_agent.stub, before.task_id)
    assert after.revision > before.revision
    after.revision = before.revision
    assert after == before
    assert (state(before.pid) or "?")[0] in "SR"


def test_what_a_task_writes_meanwhile_is_in_its_log(own_agent: Agent) -> None:
    body = "signal.signal(10, lambda *_: os.write(1, b'meanwhile\\n')); report(); stay()"
    task = launch(own_agent.stub, reporting(body)).status
    members(own_agent.stub, task.task_id, 1)
    os.kill(own_agent.server_pid, signal.SIGKILL)

    os.kill(task.pid, signal.SIGUSR1)
    own_agent.kill_server()

    assert first_lines(own_agent.stub, task.task_id, 2)[1] == "meanwhile"


def test_the_exit_of_a_task_that_ended_while_no_server_ran_is_known(own_agent: Agent) -> None:
    os.kill(own_agent.keeper_pid, 0)
    task = launch(own_agent.stub, shell("trap 'exit 9' USR1; echo up; while :; do sleep 0.01; done")).status
    first_lines(own_agent.stub, task.task_id, 1)
    process = state(task.pid)
    assert process is not None
    # A stopped server hears nothing and answers nothing.
    os.kill(own_agent.server_pid, signal.SIGSTOP)
    os.kill(task.pid, signal.SIGUSR1)
    until(lambda: not is_alive(task.pid, process[1]))

    own_agent.kill_server()

    ended = until_ended(own_agent.stub, task.task_id)
    assert ended.outcome.exit_code == 9
    assert ended.outcome.cause == task_pb2.CAUSE_COMPLETED
    assert ended.times.ended.ToNanoseconds() >= ended.times.leader_exited.ToNanoseconds()


def test_ended_tasks_are_remembered_as_they_were(own_agent: Agent) -> None:
    ids = [launch(own_agent.stub, shell(f"echo {code}; exit {code}")).status.task_id for code in range(5)]
    failed = launch(own_agent.stub, ["/no/such/program"]).status.task_id
    before = {task_id: until_ended(own_agent.stub, task_id) for task_id in (*ids, failed)}

    own_agent.kill_server()

    assert {task_id: status_of(own_agent.stub, task_id) for task_id in before} == before
    assert output(own_agent.stub, ids[3]) == b"3\n"


def test_a_deleted_task_stays_deleted(own_agent: Agent) -> None:
    task_id = launch(own_agent.stub, ["true"]).status.task_id
    until_ended(own_agent.stub, task_id)
    own_agent.stub.DeleteTask(pb.DeleteTaskRequest(task_id=task_id))

    own_agent.kill_server()

    assert list(own_agent.stub.Poll(pb.PollRequest(task_ids=[task_id])).unknown_task_ids) == [task_id]


def test_a_stop_goes_on_with_the_deadline_that_it_had(own_agent: Agent) -> None:
    task_id = launch(own_agent.stub, reporting(REFUSES_SIGTERM)).status.task_id
    members(own_agent.stub, task_id, 1)
    stop(own_agent.stub, task_id, plan(grace=3))
    until(lambda: status_of(own_agent.stub, task_id).times.HasField("signalled"))

    killed_at = time.monotonic_ns()
    own_agent.kill_server()
    away = time.monotonic_ns() - killed_at

    ended = until_ended(own_agent.stub, task_id)
    grace = ended.times.killed.ToNanoseconds() - ended.times.signalled.ToNanoseconds()
    assert ended.outcome.signal == signal.SIGKILL
    assert ended.outcome.cause == task_pb2.CAUSE_STOP_REQUESTED
    assert ended.outcome.stopped_by == "local"
    # A grace that began again with the new server would take `away` and three seconds.
    assert 2.9e9 < grace < max(3e9 + away / 2, away + 1e9)


def test_a_kill_deadline_that_passed_while_no_server_ran_is_kept_at_once(own_agent: Agent) -> None:
    task_id = launch(own_agent.stub, reporting(REFUSES_SIGTERM)).status.task_id
    members(own_agent.stub, task_id, 1)
    stop(own_agent.stub, task_id, plan(grace=0.2))
    os.kill(own_agent.server_pid, signal.SIGSTOP)
    before = time.monotonic()
    until(lambda: time.monotonic() - before > 0.3)

    own_agent.kill_server()

    assert until_ended(own_agent.stub, task_id).outcome.signal == signal.SIGKILL


def test_a_task_that_is_to_be_asked_while_no_server_runs_is_asked_by_the_next(own_agent: Agent) -> None:
    task_id = launch(own_agent.stub, reporting(ENDS_WITH_7_ON_SIGTERM)).status.task_id
    members(own_agent.stub, task_id, 1)
    stop(own_agent.stub, task_id, plan(linger=1, grace=1.5))
    os.kill(own_agent.server_pid, signal.SIGSTOP)
    before = time.monotonic()
    until(lambda: time.monotonic() - before > 2.6)

    own_agent.kill_server()

    outcome = until_ended(own_agent.stub, task_id).outcome
    assert (outcome.exit_code, outcome.cause) == (7, task_pb2.CAUSE_STOP_REQUESTED)


def test_a_linger_goes_on(own_agent: Agent) -> None:
    task_id = launch(own_agent.stub, ["sleep", "60"]).status.task_id
    asked = stop(own_agent.stub, task_id, plan(linger=2)).times.stop_requested

    own_agent.kill_server()

    times = until_ended(own_agent.stub, task_id).times
    assert times.stop_requested == asked
    assert 1.9e9 < times.signalled.ToNanoseconds() - asked.ToNanoseconds() < 10e9


def test_max_runtime_counts_from_the_start_of_the_task(own_agent: Agent) -> None:
    task_id = launch(own_agent.stub, ["sleep", "60"], max_runtime=2.5).status.task_id

    own_agent.kill_server()

    ended = until_ended(own_agent.stub, task_id)
    assert ended.outcome.cause == task_pb2.CAUSE_MAX_RUNTIME
    assert 2.4e9 < ended.times.signalled.ToNanoseconds() - ended.times.started.ToNanoseconds() < 10e9


def test_a_lease_gets_its_full_ttl_again(own_agent: Agent) -> None:
    lease = task_pb2.Lease(ttl=span(3), action=task_pb2.LEASE_ACTION_KILL)
    task_id = launch(own_agent.stub, ["sleep", "60"], lease=lease).status.task_id
    launched = time.monotonic()
    until(lambda: time.monotonic() - launched > 1)
    before = time.time_ns()

    own_agent.kill_server()

    ended = until_ended(own_agent.stub, task_id)
    assert ended.outcome.cause == task_pb2.CAUSE_LEASE_EXPIRED
    assert ended.times.killed.ToNanoseconds() > before + 3_000_000_000


def test_a_launch_repeated_after_a_crash_starts_nothing(own_agent: Agent, tmp_path: Path) -> None:
    evidence = tmp_path / "evidence"
    spec = task_pb2.TaskSpec(argv=shell(f"echo started >> {evidence}; exec sleep 60"))
    request = pb.LaunchTaskRequest(task_id=new_id(), spec=spec)
    first = own_agent.stub.LaunchTask(request)
    until(evidence.exists)

    own_agent.kill_server()
    again = own_agent.stub.LaunchTask(request)

    assert not again.created
    assert again.task.status.pid == first.task.status.pid
    assert evidence.read_text() == "started\n"


def test_launches_under_way_when_the_server_dies_start_once_or_not_at_all(own_agent: Agent, tmp_path: Path) -> None:
    requests = [
        pb.LaunchTaskRequest(
            task_id=new_id(), spec=task_pb2.TaskSpec(argv=shell(f"echo started >> {tmp_path}/{number}; exit 4"))
        )
        for number in range(60)
    ]
    calls = [own_agent.stub.LaunchTask.future(request) for request in requests]
    until(lambda: any(call.done() for call in calls))

    own_agent.kill_server()
    told = [call.exception() is None for call in calls]
    for request in requests:
        own_agent.stub.LaunchTask(request)
    endings = [until_ended(own_agent.stub, request.task_id).outcome.exit_code for request in requests]

    assert any(told)
    assert endings == [4] * 60
    assert [(tmp_path / str(number)).read_text() for number in range(60)] == ["started\n"] * 60


def test_a_watch_resumed_after_a_crash_misses_no_final_state(own_agent: Agent) -> None:
    ids = {launch(own_agent.stub, ["sleep", "60"]).status.task_id for _ in range(4)}
    stream = own_agent.stub.WatchTasks(pb.WatchTasksRequest())
    revision = next(event.checkpoint.revision for event in stream if event.HasField("checkpoint"))
    for task_id in ids:
        stop(own_agent.stub, task_id, AT_ONCE)

    own_agent.kill_server()
    resumed = own_agent.stub.WatchTasks(pb.WatchTasksRequest(since_revision=revision), timeout=PATIENCE)

    seen = set()
    for event in resumed:
        if event.changed.state in FINAL:
            seen.add(event.changed.task_id)
        if seen == ids:
            break
    resumed.cancel()
    assert seen == ids


def test_revisions_go_on_growing(own_agent: Agent) -> None:
    task_id = launch(own_agent.stub, ["true"]).status.task_id
    until_ended(own_agent.stub, task_id)
    own_agent.stub.DeleteTask(pb.DeleteTaskRequest(task_id=task_id))
    before = own_agent.stub.GetSite(pb.GetSiteRequest()).site.revision

    own_agent.kill_server()

    assert own_agent.stub.GetSite(pb.GetSiteRequest()).site.revision >= before
    assert launch(own_agent.stub, ["sleep", "60"]).status.revision > before


def test_a_tree_is_contained_also_after_a_crash(own_agent: Agent) -> None:
    task_id = launch(own_agent.stub, reporting(LIKE_TORCHRUN)).status.task_id
    family = members(own_agent.stub, task_id, LIKE_TORCHRUN_SIZE)

    own_agent.kill_server()
    stop(own_agent.stub, task_id)
    until_ended(own_agent.stub, task_id)

    assert not [member for member in family if member.alive]


@pytest.mark.parametrize("stopped", [False, True])
def test_a_hung_start_is_still_known(own_agent: Agent, tmp_path: Path, stopped: bool) -> None:
    with hung_program(tmp_path / "hung") as program:
        task_id = launch(own_agent.stub, [program.path]).status.task_id
        if stopped:
            stop(own_agent.stub, task_id, plan(linger=2, grace=0))

        own_agent.kill_server()
        if not stopped:
            assert status_of(own_agent.stub, task_id).state == task_pb2.TASK_STATE_STARTING
            stop(own_agent.stub, task_id, AT_ONCE)

        assert until_ended(own_agent.stub, task_id).outcome.signal == signal.SIGKILL


def test_the_server_may_die_ten_times_in_a_row(own_agent: Agent) -> None:
    running = launch(own_agent.stub, ["sleep", "60"]).status
    codes = {}
    for code in range(3):
        codes[launch(own_agent.stub, shell(f"exit {code}")).status.task_id] = code
        own_agent.kill_server()

    assert {task_id: until_ended(own_agent.stub, task_id).outcome.exit_code for task_id in codes} == codes
    assert status_of(own_agent.stub, running.task_id).pid == running.pid


def test_a_server_that_stored_nothing_leaves_the_next_one_its_own_revisions(own_agent: Agent) -> None:
    task_id = launch(own_agent.stub, ["sleep", "60"]).status.task_id
    told = [status_of(own_agent.stub, task_id).revision]

    for _ in range(3):
        own_agent.kill_server()
        told.append(status_of(own_agent.stub, task_id).revision)

    assert told == sorted(set(told))
