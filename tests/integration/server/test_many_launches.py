"""Launches by the thousand while the server is busy: none is lost, none forks, none leaves anything behind."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support import atfork
from support.agent import AT_ONCE, FINAL, Agent, short_directory
from support.tasks import new_id, reporting, span
from support.waiting import until

from farspawn.v1 import launcher_pb2 as pb
from farspawn.v1 import task_pb2

TRUE = task_pb2.TaskSpec(argv=["/bin/true"])


def launch_all(agent: Agent, count: int, spec: task_pb2.TaskSpec = TRUE, in_flight: int = 16) -> list[str]:
    """Launch so many tasks, so many at a time, and return their ids."""
    ids = [new_id("many") for _ in range(count)]
    with ThreadPoolExecutor(in_flight) as callers:
        requests = [pb.LaunchTaskRequest(task_id=task_id, spec=spec) for task_id in ids]
        assert all(reply.created for reply in callers.map(agent.stub.LaunchTask, requests))
    return ids


def all_ended(agent: Agent, ids: list[str], timeout: float = 60.0) -> dict[str, task_pb2.TaskStatus]:
    """Follow all tasks by one poll after the other until each has ended."""
    ended: dict[str, task_pb2.TaskStatus] = {}
    revision = 0

    def look() -> bool:
        nonlocal revision
        reply = agent.stub.Poll(pb.PollRequest(task_ids=ids, wait=span(5), since_revision=revision))
        revision = reply.revision
        ended.update({status.task_id: status for status in reply.statuses if status.state in FINAL})
        return len(ended) == len(ids)

    until(look, timeout)
    return ended


def descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


@pytest.fixture
def counted_agent(tmp_path: Path) -> Iterator[tuple[Agent, atfork.AtforkCounter]]:
    """An agent whose keeper and server count their forks."""
    try:
        counter = atfork.build(tmp_path, file=tmp_path / "forks")
    except atfork.NoCompilerError as error:
        pytest.skip(str(error))
    with short_directory() as directory, Agent(directory, environment=counter.environment) as agent:
        yield agent, counter


def test_keeper_and_server_never_fork(counted_agent: tuple[Agent, atfork.AtforkCounter]) -> None:
    agent, counter = counted_agent
    for pid in (agent.keeper_pid, agent.server_pid):
        assert str(counter.library) in Path(f"/proc/{pid}/maps").read_text(), "the counter is not loaded"

    ids = launch_all(agent, 300)
    family = launch_all(agent, 5, task_pb2.TaskSpec(argv=reporting("child(); child(); report(); stay()")))
    for task_id in family:
        agent.stub.StopTask(pb.StopTaskRequest(task_id=task_id, plan=AT_ONCE))
    all_ended(agent, [*ids, *family])
    agent.kill_server()
    all_ended(agent, launch_all(agent, 20))

    assert counter.forks() == []


def test_the_fork_counter_counts_in_an_agents_environment(counted_agent: tuple[Agent, atfork.AtforkCounter]) -> None:
    agent, counter = counted_agent
    spec = task_pb2.TaskSpec(argv=reporting("child(); os._exit(0)"), env=dict(counter.environment))

    all_ended(agent, launch_all(agent, 1, spec))

    assert len(counter.forks()) == 1


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_three_thousand_launches_lose_none(own_agent: Agent) -> None:
    watch = own_agent.stub.WatchTasks(pb.WatchTasksRequest())
    all_ended(own_agent, launch_all(own_agent, 50))
    before = descriptors(own_agent.keeper_pid), descriptors(own_agent.server_pid)

    ids = launch_all(own_agent, 3000)
    ended = all_ended(own_agent, ids, 120.0)
    watch.cancel()

    assert {status.state for status in ended.values()} == {task_pb2.TASK_STATE_EXITED}
    assert {status.outcome.WhichOneof("ending") for status in ended.values()} == {"exit_code"}
    assert {status.outcome.exit_code for status in ended.values()} == {0}
    assert {status.outcome.cause for status in ended.values()} == {task_pb2.CAUSE_COMPLETED}
    assert own_agent.task_processes() == []
    # The last shims may not have hung up yet.
    assert until(lambda: descriptors(own_agent.keeper_pid) <= before[0] + 2)
    assert until(lambda: descriptors(own_agent.server_pid) <= before[1] + 5)


def test_the_output_of_tasks_at_the_same_time_is_never_mixed(agent: Agent) -> None:
    spec = task_pb2.TaskSpec(argv=["/bin/sh", "-c", 'echo "$FARSPAWN_TASK_ID"; echo "$FARSPAWN_TASK_ID" >&2'])
    ids = launch_all(agent, 100, spec)
    all_ended(agent, ids)

    for stream in (pb.LOG_STREAM_STDOUT, pb.LOG_STREAM_STDERR):
        for task_id in ids:
            parts = agent.stub.ReadLogs(pb.ReadLogsRequest(task_id=task_id, stream=stream))
            assert b"".join(part.chunk.data for part in parts) == f"{task_id}\n".encode()
