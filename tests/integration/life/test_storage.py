"""When nothing can be stored, what runs runs on, what is new is refused, and no end of a task is lost."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import grpc
import pytest
from support.agent import AT_ONCE, FINAL, Agent, short_directory, until_ended
from support.disks import SmallDisk, small_disk, unwritable
from support.processes import is_alive, state
from support.refused import Refused, read, refused
from support.specs import ALWAYS, cleanup, restart, start, until_state
from support.tasks import first_lines, launch, new_id, shell, span, status_of, stop
from support.waiting import PATIENCE, until

from farspawn.v1 import launcher_pb2 as pb
from farspawn.v1 import task_pb2

RUNNING = task_pb2.TASK_STATE_RUNNING
ENDS_WITH_9_ON_USR1 = shell("trap 'exit 9' USR1; echo up; while :; do sleep 0.02; done")


@pytest.fixture
def small() -> Iterator[tuple[Agent, SmallDisk]]:
    """An agent of the test's own whose state is on a small disk, and that disk."""
    with short_directory() as directory, small_disk(directory / "state") as disk, Agent(directory) as agent:
        yield agent, disk
        agent.check_log()


def refusal_of_a_launch(agent: Agent) -> Refused:
    """Launch until it is refused: what room was left in the file's last page is taken then."""
    for _ in range(200):
        try:
            launch(agent.stub, ["true"])
        except grpc.RpcError as error:
            return read(error)
    raise AssertionError("200 launches were recorded on a full disk")


def until_launched(agent: Agent) -> task_pb2.TaskStatus:
    """Launch again and again, as the refusal asks for, until it is done."""
    launched: list[task_pb2.TaskStatus] = []
    task_id = new_id()

    def is_done() -> bool:
        try:
            launched.append(launch(agent.stub, ["true"], task_id=task_id).status)
        except grpc.RpcError as error:
            if read(error).reason != "STORAGE_FULL":
                raise
        return bool(launched)

    until(is_done, every=0.05)
    return until_ended(agent.stub, task_id)


def end_by_itself(task: task_pb2.TaskStatus) -> None:
    """Have an ENDS_WITH_9_ON_USR1 end, and wait until it has."""
    process = state(task.pid)
    assert process is not None
    os.kill(task.pid, signal.SIGUSR1)
    until(lambda: not is_alive(task.pid, process[1]))


def running(agent: Agent) -> task_pb2.TaskStatus:
    task = launch(agent.stub, ENDS_WITH_9_ON_USR1).status
    first_lines(agent.stub, task.task_id, 1)
    return task


def test_a_launch_on_a_full_disk_is_refused_and_starts_nothing(small: tuple[Agent, SmallDisk], tmp_path: Path) -> None:
    agent, disk = small
    disk.fill()
    refusal_of_a_launch(agent)
    task_id = new_id()

    no = refused(lambda: launch(agent.stub, shell("touch ran"), cwd=str(tmp_path), task_id=task_id))

    assert (no.code, no.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "STORAGE_FULL")
    assert no.retry_after is not None
    assert list(agent.stub.Poll(pb.PollRequest(task_ids=[task_id])).unknown_task_ids) == [task_id]
    disk.empty()
    until_launched(agent)
    assert not (tmp_path / "ran").exists()


def test_a_task_runs_on_and_is_served_while_the_disk_is_full(small: tuple[Agent, SmallDisk]) -> None:
    agent, disk = small
    task = running(agent)
    disk.fill()

    refusal_of_a_launch(agent)

    assert status_of(agent.stub, task.task_id).state == RUNNING
    assert first_lines(agent.stub, task.task_id, 1) == ["up"]
    assert agent.stub.SignalTask(pb.SignalTaskRequest(task_id=task.task_id, signal=signal.SIGWINCH)).signalled == 1
    disk.empty()


def test_an_exit_on_a_full_disk_is_stored_in_the_reserve_and_told(small: tuple[Agent, SmallDisk]) -> None:
    agent, disk = small
    task = running(agent)
    disk.fill()
    refusal_of_a_launch(agent)

    end_by_itself(task)
    ended = until_ended(agent.stub, task.task_id)
    disk.empty()

    assert ended.outcome.exit_code == 9
    assert ended.outcome.cause == task_pb2.CAUSE_COMPLETED
    assert until_launched(agent).outcome.exit_code == 0


def test_an_exit_on_a_full_disk_outlives_the_server(small: tuple[Agent, SmallDisk]) -> None:
    agent, disk = small
    task = running(agent)
    disk.fill()
    refusal_of_a_launch(agent)
    end_by_itself(task)

    os.kill(agent.server_pid, signal.SIGKILL)
    until(lambda: agent.log.count("server ended") >= 1)
    disk.empty()
    agent.until_serving()

    assert until_ended(agent.stub, task.task_id).outcome.exit_code == 9


def test_a_task_is_stopped_while_the_disk_is_full(small: tuple[Agent, SmallDisk]) -> None:
    agent, disk = small
    task = running(agent)
    disk.fill()
    refusal_of_a_launch(agent)

    stop(agent.stub, task.task_id, AT_ONCE)

    ended = until_ended(agent.stub, task.task_id)
    assert ended.outcome.signal == signal.SIGKILL
    assert ended.outcome.cause == task_pb2.CAUSE_STOP_REQUESTED


def test_a_task_is_stopped_when_also_the_reserve_is_used_up_and_that_is_recorded_later(
    small: tuple[Agent, SmallDisk],
) -> None:
    agent, disk = small
    tasks = [running(agent) for _ in range(20)]
    disk.fill()
    refusal_of_a_launch(agent)
    use_up_reserve(agent, disk, tasks.pop())

    for task in tasks:
        stop(agent.stub, task.task_id, AT_ONCE)
    until(lambda: not any(map(is_running, tasks)))
    disk.empty()

    for task in tasks:
        ended = until_ended(agent.stub, task.task_id)
        assert ended.outcome.signal == signal.SIGKILL
        assert ended.outcome.cause == task_pb2.CAUSE_STOP_REQUESTED
    assert until_launched(agent).outcome.exit_code == 0


def use_up_reserve(agent: Agent, disk: SmallDisk, victim: task_pb2.TaskStatus) -> None:
    """Have what may be given back be given back for the end of a task, and take it, as who fills the disk can."""
    end_by_itself(victim)
    until_ended(agent.stub, victim.task_id)
    disk.fill()


def is_running(task: task_pb2.TaskStatus) -> bool:
    found = state(task.pid)
    return found is not None and found[0] != "Z"


def test_a_shutdown_stops_the_tasks_while_the_disk_is_full(small: tuple[Agent, SmallDisk]) -> None:
    agent, disk = small
    task = start(agent.stub, task_pb2.TaskSpec(argv=["sleep", "60"]))
    disk.fill()
    refusal_of_a_launch(agent)

    agent.terminate()

    assert agent.wait() == 0
    assert state(task.pid) is None
    disk.empty()


def test_a_time_limit_is_kept_while_the_disk_is_full(small: tuple[Agent, SmallDisk]) -> None:
    agent, disk = small
    task = start(agent.stub, task_pb2.TaskSpec(argv=["sleep", "60"], max_runtime=span(1)))
    disk.fill()
    refusal_of_a_launch(agent)

    assert until_ended(agent.stub, task.task_id).outcome.cause == task_pb2.CAUSE_MAX_RUNTIME


def test_a_cleanup_and_a_restart_come_while_the_disk_is_full(small: tuple[Agent, SmallDisk], tmp_path: Path) -> None:
    agent, disk = small
    spec = task_pb2.TaskSpec(
        argv=shell("[ $FARSPAWN_ATTEMPT = 1 ] || exit 5; trap 'exit 9' USR1; echo up; while :; do sleep 0.02; done"),
        working_directory=str(tmp_path),
        cleanup=cleanup(shell("echo $FARSPAWN_ATTEMPT >>cleaned")),
        restart=restart(ALWAYS, most=1),
    )
    task = start(agent.stub, spec)
    first_lines(agent.stub, task.task_id, 1)
    disk.fill()
    refusal_of_a_launch(agent)

    end_by_itself(task)
    ended = until_ended(agent.stub, task.task_id)

    assert [ended.earlier_attempts[0].outcome.exit_code, ended.outcome.exit_code] == [9, 5]
    assert (tmp_path / "cleaned").read_text() == "1\n2\n"


def test_what_has_ended_can_be_deleted_while_the_disk_is_full(small: tuple[Agent, SmallDisk]) -> None:
    agent, disk = small
    task_id = launch(agent.stub, ["true"]).status.task_id
    until_ended(agent.stub, task_id)
    disk.fill()
    refusal_of_a_launch(agent)

    agent.stub.DeleteTask(pb.DeleteTaskRequest(task_id=task_id))

    assert list(agent.stub.Poll(pb.PollRequest(task_ids=[task_id])).unknown_task_ids) == [task_id]


@pytest.fixture
def disked_agent() -> Iterator[Agent]:
    """An agent of the test's own on a file system with immutable files."""
    with short_directory() as directory, Agent(directory) as agent:
        yield agent
        agent.check_log()


def database(agent: Agent) -> list[Path]:
    return sorted(path for path in agent.state.glob("farspawn.db*") if not path.name.endswith("-shm"))


def test_files_that_refuse_to_be_written_cost_nothing_that_runs(disked_agent: Agent) -> None:
    agent = disked_agent
    task = running(agent)

    with unwritable(*database(agent)):
        no = refusal_of_a_launch(agent)
        end_by_itself(task)
        held = status_of(agent.stub, task.task_id)
    ended = until_ended(agent.stub, task.task_id)

    assert no.reason == "STORAGE_FULL"
    assert held.state not in FINAL
    assert ended.outcome.exit_code == 9
    assert until_launched(agent).outcome.exit_code == 0


@pytest.mark.slow
def test_a_server_that_cannot_open_its_files_for_writing_is_started_again_until_it_can(disked_agent: Agent) -> None:
    agent = disked_agent
    task = running(agent)

    with unwritable(*database(agent)):
        os.kill(agent.server_pid, signal.SIGKILL)
        end_by_itself(task)
        until(lambda: agent.log.count("server ended") >= 3)
    agent.until_serving()

    assert until_ended(agent.stub, task.task_id).outcome.exit_code == 9


@pytest.mark.slow
def test_an_exit_is_held_until_a_database_that_was_spoilt_is_back(own_agent: Agent, tmp_path: Path) -> None:
    task = running(own_agent)
    keeper = own_agent.keeper_pid
    with spoilt(own_agent, tmp_path):
        os.kill(own_agent.server_pid, signal.SIGKILL)
        until(lambda: own_agent.log.count("server ended") >= 2)
        end_by_itself(task)
        ends = own_agent.log.count("server ended")
        until(lambda: own_agent.log.count("server ended") > ends)
        assert state(keeper) is not None
        assert own_agent.health() != 1
    own_agent.until_serving()

    assert until_ended(own_agent.stub, task.task_id).outcome.exit_code == 9
    assert until_launched(own_agent).outcome.exit_code == 0


def test_a_row_that_was_damaged_costs_its_task_alone_and_nothing_is_started_twice(
    own_agent: Agent, tmp_path: Path
) -> None:
    ran = tmp_path / "ran"
    spec = task_pb2.TaskSpec(argv=["/bin/sh", "-c", f"echo ran >> {ran}; exec sleep 600"])
    request = pb.LaunchTaskRequest(task_id="damaged", spec=spec)
    damaged = own_agent.stub.LaunchTask(request).task.status
    until(lambda: ran.exists() and ran.read_text())
    other = running(own_agent)
    with closing(sqlite3.connect(own_agent.state / "farspawn.db")) as rows, rows:
        rows.execute("UPDATE task SET record = '{' WHERE uid = ?", (damaged.uid,))

    own_agent.kill_server()

    lost = until_ended(own_agent.stub, "damaged")
    assert (lost.state, lost.uid) == (task_pb2.TASK_STATE_LOST, damaged.uid)
    assert "could not be read" in lost.outcome.message
    assert "kept aside in table damaged" in own_agent.log
    assert not own_agent.stub.LaunchTask(request).created
    until(lambda: state(damaged.pid) is None)
    assert ran.read_text() == "ran\n"
    end_by_itself(other)
    assert until_ended(own_agent.stub, other.task_id).outcome.exit_code == 9


def test_a_task_outlives_the_removal_of_the_databases_log_and_a_crash_after_it(own_agent: Agent) -> None:
    task = running(own_agent)
    log = own_agent.state / "farspawn.db-wal"
    log.unlink()
    until(log.exists)
    until(lambda: "the log of the database was removed, and saved" in own_agent.log)

    own_agent.kill_server()

    end_by_itself(task)
    assert until_ended(own_agent.stub, task.task_id).outcome.exit_code == 9


@contextmanager
def spoilt(agent: Agent, elsewhere: Path) -> Iterator[None]:
    """Overwrite the database with nonsense while nobody looks, and bring back what it was."""
    os.kill(agent.server_pid, signal.SIGSTOP)
    files = database(agent)
    for path in files:
        shutil.copy(path, elsewhere)
        path.write_bytes(b"nonsense" * 4096)
    try:
        yield
    finally:
        # Two servers must not meet over the files: wait for the moment between two.
        until(lambda: agent._server_pid() is None, every=0.001)
        for path in files:
            path.write_bytes((elsewhere / path.name).read_bytes())


def test_an_agent_whose_state_directory_is_gone_refuses_and_is_well_when_it_is_back(own_agent: Agent) -> None:
    task = running(own_agent)
    to_be_stopped = launch(own_agent.stub, ["sleep", "60"]).status
    away = own_agent.directory / "away"
    own_agent.state.rename(away)

    no = refused(lambda: launch(own_agent.stub, ["true"]))
    stop(own_agent.stub, to_be_stopped.task_id, AT_ONCE)
    until(lambda: not is_running(to_be_stopped))
    end_by_itself(task)
    held = status_of(own_agent.stub, task.task_id)
    away.rename(own_agent.state)
    ended = until_ended(own_agent.stub, task.task_id)

    assert (no.code, no.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "STORAGE_FULL")
    assert held.state not in FINAL
    assert ended.outcome.exit_code == 9
    assert until_ended(own_agent.stub, to_be_stopped.task_id).outcome.cause == task_pb2.CAUSE_STOP_REQUESTED
    assert until_launched(own_agent).outcome.exit_code == 0


def test_a_server_that_is_started_without_its_state_directory_finds_all_when_it_is_back(own_agent: Agent) -> None:
    task = running(own_agent)
    away = own_agent.directory / "away"
    own_agent.state.rename(away)
    os.kill(own_agent.server_pid, signal.SIGKILL)
    until(lambda: own_agent.log.count("server ended") >= 2)
    end_by_itself(task)

    away.rename(own_agent.state)
    own_agent.until_serving()

    assert until_ended(own_agent.stub, task.task_id).outcome.exit_code == 9


def test_a_watch_hears_of_an_exit_only_when_it_is_stored(disked_agent: Agent) -> None:
    agent = disked_agent
    task = running(agent)
    with unwritable(*database(agent)):
        revision = agent.stub.GetSite(pb.GetSiteRequest()).site.revision
        end_by_itself(task)
        until(lambda: "not stored, trying again" in agent.log)
        request = pb.PollRequest(task_ids=[task.task_id], since_revision=revision)
        before = agent.stub.Poll(request).statuses

    until_state(agent.stub, task.task_id, task_pb2.TASK_STATE_EXITED)
    after = agent.stub.Poll(request, timeout=PATIENCE).statuses

    assert not before
    assert [each.state for each in after] == [task_pb2.TASK_STATE_EXITED]
