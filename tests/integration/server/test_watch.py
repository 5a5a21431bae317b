"""WatchTasks: a snapshot, a checkpoint, then what changes; and a resumed watch misses no final state."""

from __future__ import annotations

import os
from collections.abc import Iterator

from support.agent import FINAL, Agent, until_ended
from support.tasks import launch, new_id, shell, stop
from support.waiting import PATIENCE

from farspawn.v1 import launcher_pb2 as pb
from farspawn.v1 import task_pb2


def watching(label: str, since: int = 0, *states: task_pb2.TaskState.ValueType) -> pb.WatchTasksRequest:
    return pb.WatchTasksRequest(filter=pb.TaskFilter(labels={"watched": label}, states=states), since_revision=since)


def snapshot(stream: Iterator[pb.WatchTasksResponse]) -> tuple[list[task_pb2.TaskStatus], int]:
    """Read up to the first checkpoint: the tasks told, and where to resume."""
    told: list[task_pb2.TaskStatus] = []
    for event in stream:
        if event.HasField("checkpoint"):
            return told, event.checkpoint.revision
        if event.HasField("changed"):
            told.append(event.changed)
    raise AssertionError("the stream ended before its first checkpoint")


def test_a_watch_begins_with_a_snapshot_in_the_order_of_revisions_and_a_checkpoint(agent: Agent) -> None:
    label = new_id()
    ids = [launch(agent.stub, ["sleep", "60"], labels={"watched": label}).status.task_id for _ in range(4)]
    stream = agent.stub.WatchTasks(watching(label), timeout=PATIENCE)

    told, revision = snapshot(stream)
    stream.cancel()

    assert {status.task_id for status in told} == set(ids)
    assert [status.revision for status in told] == sorted(status.revision for status in told)
    assert revision >= told[-1].revision


def test_a_watch_tells_each_change_of_what_it_watches(agent: Agent) -> None:
    label = new_id()
    stream = agent.stub.WatchTasks(watching(label), timeout=PATIENCE)
    told, _ = snapshot(stream)
    launch(agent.stub, ["sleep", "60"], labels={"watched": "other"})

    task_id = launch(agent.stub, shell("exit 5"), labels={"watched": label}).status.task_id

    assert told == []
    changes = until_final(stream)
    stream.cancel()
    assert {status.task_id for status in changes} == {task_id}
    assert changes[-1].outcome.exit_code == 5
    revisions = [status.revision for status in changes]
    assert revisions == sorted(set(revisions))


def until_final(stream: Iterator[pb.WatchTasksResponse]) -> list[task_pb2.TaskStatus]:
    changes: list[task_pb2.TaskStatus] = []
    for event in stream:
        if event.HasField("changed"):
            changes.append(event.changed)
            if event.changed.state in FINAL:
                break
    return changes


def test_a_resumed_watch_misses_no_final_state(agent: Agent) -> None:
    label = new_id()
    ids = [launch(agent.stub, ["sleep", "60"], labels={"watched": label}).status.task_id for _ in range(5)]
    first = agent.stub.WatchTasks(watching(label), timeout=PATIENCE)
    _, revision = snapshot(first)
    first.cancel()
    for task_id in ids:
        stop(agent.stub, task_id)
        until_ended(agent.stub, task_id)

    resumed = agent.stub.WatchTasks(watching(label, revision), timeout=PATIENCE)
    told, _ = snapshot(resumed)
    resumed.cancel()

    assert {status.task_id for status in told if status.state == task_pb2.TASK_STATE_EXITED} == set(ids)


def test_a_resumed_watch_does_not_repeat_what_was_seen(agent: Agent) -> None:
    label = new_id()
    launch(agent.stub, ["sleep", "60"], labels={"watched": label})
    first = agent.stub.WatchTasks(watching(label), timeout=PATIENCE)
    _, revision = snapshot(first)
    first.cancel()

    resumed = agent.stub.WatchTasks(watching(label, revision), timeout=PATIENCE)
    told, _ = snapshot(resumed)
    resumed.cancel()

    assert told == []


def test_a_watch_tells_of_a_deletion(agent: Agent) -> None:
    label = new_id()
    task = launch(agent.stub, ["true"], labels={"watched": label}).status
    until_ended(agent.stub, task.task_id)
    stream = agent.stub.WatchTasks(watching(label), timeout=PATIENCE)
    snapshot(stream)

    agent.stub.DeleteTask(pb.DeleteTaskRequest(task_id=task.task_id))

    assert next(event.deleted_uid for event in stream if event.HasField("deleted_uid")) == task.uid
    stream.cancel()


def test_a_snapshot_holds_no_deletions_of_the_past(agent: Agent) -> None:
    task = launch(agent.stub, ["true"]).status
    until_ended(agent.stub, task.task_id)
    agent.stub.DeleteTask(pb.DeleteTaskRequest(task_id=task.task_id))
    stream = agent.stub.WatchTasks(pb.WatchTasksRequest(), timeout=PATIENCE)
    events = []
    for event in stream:
        events.append(event)
        if event.HasField("checkpoint"):
            break
    stream.cancel()

    assert task.uid not in {event.deleted_uid for event in events}


def test_a_watch_of_states_tells_only_tasks_in_them(agent: Agent) -> None:
    label = new_id()
    running = launch(agent.stub, ["sleep", "60"], labels={"watched": label}).status.task_id
    ended = launch(agent.stub, ["true"], labels={"watched": label}).status.task_id
    until_ended(agent.stub, ended)
    stream = agent.stub.WatchTasks(watching(label, 0, task_pb2.TASK_STATE_EXITED), timeout=PATIENCE)
    told, _ = snapshot(stream)

    stop(agent.stub, running)

    assert [status.task_id for status in told] == [ended]
    assert [status.task_id for status in until_final(stream)] == [running]
    stream.cancel()


def test_a_reader_that_never_reads_delays_nobody(agent: Agent) -> None:
    streams = [agent.stub.WatchTasks(pb.WatchTasksRequest(), timeout=PATIENCE) for _ in range(20)]

    for code in range(20):
        task_id = launch(agent.stub, shell(f"exit {code}")).status.task_id
        assert until_ended(agent.stub, task_id, timeout=PATIENCE).outcome.exit_code == code
    for stream in streams:
        stream.cancel()


def test_watches_that_come_and_go_leave_nothing_behind(agent: Agent) -> None:
    def descriptors() -> int:
        return len(os.listdir(f"/proc/{agent.server_pid}/fd"))

    before = descriptors()
    for _ in range(50):
        stream = agent.stub.WatchTasks(pb.WatchTasksRequest(), timeout=PATIENCE)
        snapshot(stream)
        stream.cancel()

    assert descriptors() <= before + 5
