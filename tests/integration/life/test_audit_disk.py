"""When the audit cannot be written, nothing new runs, what runs can be stopped, and what is lost is counted."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from support.agent import AT_ONCE, Agent, short_directory, until_ended
from support.audit import audit_files, audit_lines
from support.disks import SmallDisk, small_disk, unwritable
from support.refused import Refused, read, refused
from support.tasks import launch, new_id, shell, stop
from support.waiting import until

from farspawn.v1 import launcher_pb2 as pb
from farspawn_server.audit.verify import verify


@pytest.fixture
def apart() -> Iterator[tuple[Agent, SmallDisk]]:
    """An agent whose audit has a small disk of its own, and that disk: what else it stores has room."""
    with short_directory() as directory:
        (directory / "state").mkdir(mode=0o700)
        with small_disk(directory / "state" / "audit", megabytes=1) as disk, Agent(directory) as agent:
            yield agent, disk
            agent.check_log()


def until_refused(agent: Agent) -> Refused:
    """Launch until it is refused: there is room left in the file's last page."""
    for _ in range(200):
        try:
            launch(agent.stub, ["true"])
        except grpc.RpcError as error:
            return read(error)
    raise AssertionError("200 launches were recorded on a full disk")


def until_launched(agent: Agent) -> str:
    """Launch again and again, as the refusal asks for, until it is done; return the uid."""
    uids: list[str] = []

    def is_done() -> bool:
        try:
            uids.append(launch(agent.stub, ["true"]).status.uid)
        except grpc.RpcError as error:
            assert read(error).reason == "STORAGE_FULL"  # noqa: PT017  # it must be no other
        return bool(uids)

    until(is_done, every=0.05)
    return uids[0]


def check_all_on_record(agent: Agent, folder: Path) -> None:
    """Every task that the site knows is on record."""
    recorded = {line.get("uid") for line in audit_lines(folder) if line["outcome"] == "accepted"}
    tasks = agent.stub.ListTasks(pb.ListTasksRequest(page_size=1000)).tasks
    assert {task.status.uid for task in tasks} <= recorded


def test_a_launch_that_cannot_be_put_on_record_is_refused_and_starts_nothing(
    apart: tuple[Agent, SmallDisk], tmp_path: Path
) -> None:
    agent, disk = apart
    launch(agent.stub, ["true"])
    disk.fill()
    until_refused(agent)

    task_id = new_id()
    no = refused(lambda: launch(agent.stub, shell("touch ran"), cwd=str(tmp_path), task_id=task_id))

    assert (no.code, no.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "STORAGE_FULL")
    assert list(agent.stub.Poll(pb.PollRequest(task_ids=[task_id])).unknown_task_ids) == [task_id]
    disk.empty()
    until_launched(agent)
    assert not (tmp_path / "ran").exists()
    verify(disk.path)
    check_all_on_record(agent, disk.path)


def test_what_runs_can_be_stopped_signalled_and_deleted_without_record_and_that_is_counted(
    apart: tuple[Agent, SmallDisk],
) -> None:
    agent, disk = apart
    one, two = (launch(agent.stub, ["sleep", "600"]).status.task_id for _ in range(2))
    disk.fill()
    until_refused(agent)
    size = audit_files(disk.path)[0].stat().st_size

    signalled = agent.stub.SignalTask(pb.SignalTaskRequest(task_id=one, signal=signal.SIGWINCH)).signalled
    stop(agent.stub, one, AT_ONCE)
    stop(agent.stub, two, AT_ONCE)
    ended = [until_ended(agent.stub, task_id).outcome.signal for task_id in (one, two)]
    agent.stub.DeleteTask(pb.DeleteTaskRequest(task_id=one))
    unrecorded = audit_files(disk.path)[0].stat().st_size == size
    disk.empty()
    uid = until_launched(agent)

    assert (signalled, ended, unrecorded) == (1, [signal.SIGKILL, signal.SIGKILL], True)
    line = next(line for line in audit_lines(disk.path) if line.get("uid") == uid)
    # The four, and the refusals of the launches.
    assert line["lost"] >= 5
    assert verify(disk.path).lost == line["lost"]
    assert agent.log.count("done without record") == 4


def test_on_a_disk_that_goes_bad_launches_are_refused_until_it_is_well(own_agent: Agent) -> None:
    launch(own_agent.stub, ["true"])
    folder = own_agent.state / "audit"

    with unwritable(*audit_files(folder)):
        no = refused(lambda: launch(own_agent.stub, ["true"]))
    until_launched(own_agent)

    assert no.reason == "STORAGE_FULL"
    verify(folder)
    check_all_on_record(own_agent, folder)


def test_without_its_directory_launches_are_refused_until_it_is_back(own_agent: Agent) -> None:
    launch(own_agent.stub, ["true"])
    folder = own_agent.state / "audit"
    folder.rename(own_agent.directory / "away")

    no = refused(lambda: launch(own_agent.stub, ["true"]))
    (own_agent.directory / "away").rename(folder)
    until_launched(own_agent)

    assert no.reason == "STORAGE_FULL"
    verify(folder)
    check_all_on_record(own_agent, folder)


def test_a_server_that_is_killed_while_the_disk_is_full_goes_on_in_the_same_chain(
    apart: tuple[Agent, SmallDisk],
) -> None:
    agent, disk = apart
    launch(agent.stub, ["true"])
    disk.fill()
    until_refused(agent)

    agent.kill_server()
    until_refused(agent)
    disk.empty()
    until_launched(agent)

    verify(disk.path)
    check_all_on_record(agent, disk.path)


def test_a_flood_of_refusals_while_nothing_can_be_written_takes_no_memory_and_no_launch(
    apart: tuple[Agent, SmallDisk],
) -> None:
    agent, disk = apart
    disk.fill()
    until_refused(agent)
    for _ in range(500):
        refused(lambda: stop(agent.stub, "x" * 1000))
    disk.empty()

    uid = until_launched(agent)

    lines = audit_lines(disk.path)
    assert [line["uid"] for line in lines if line["rpc"] == "LaunchTask" and line["outcome"] == "accepted"] == [uid]
    assert sum("lost" in line for line in lines) == 1
    assert verify(disk.path).lost >= 500
