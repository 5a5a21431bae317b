"""WriteInput: bytes to a task's standard input, acknowledged by offset."""

from __future__ import annotations

import queue
from collections.abc import Iterator

import grpc
import pytest
from support.agent import AT_ONCE, Agent, until_ended
from support.refused import refused
from support.tasks import launch, new_id, output, shell, stop
from support.waiting import PATIENCE

from farspawn.v1 import launcher_pb2 as pb
from farspawn.v1 import task_pb2

Part = pb.WriteInputRequest


def with_input(agent: Agent, argv: list[str]) -> str:
    task_id = new_id()
    spec = task_pb2.TaskSpec(argv=argv, open_input=True)
    agent.stub.LaunchTask(pb.LaunchTaskRequest(task_id=task_id, spec=spec), timeout=PATIENCE)
    return task_id


def write(agent: Agent, *parts: pb.WriteInputRequest) -> list[int]:
    """Send parts and return what was acknowledged."""
    return [reply.acknowledged_offset for reply in agent.stub.WriteInput(iter(parts), timeout=PATIENCE)]


def test_a_task_reads_what_is_written_and_then_the_end(agent: Agent) -> None:
    task_id = with_input(agent, ["cat"])

    taken = write(
        agent, Part(task_id=task_id, data=b"\x00\xff"), Part(offset=2, data=b"more"), Part(offset=6, end_of_input=True)
    )

    assert taken == [2, 6, 6]
    assert until_ended(agent.stub, task_id).outcome.exit_code == 0
    assert output(agent.stub, task_id) == b"\x00\xffmore"


def test_what_was_acknowledged_is_not_written_again_by_a_repeated_call(agent: Agent) -> None:
    task_id = with_input(agent, ["cat"])
    write(agent, Part(task_id=task_id, data=b"hello "))

    taken = write(agent, Part(task_id=task_id, data=b"hello world", end_of_input=True))

    assert taken == [11]
    until_ended(agent.stub, task_id)
    assert output(agent.stub, task_id) == b"hello world"


def test_a_gap_is_refused_with_what_was_taken(agent: Agent) -> None:
    task_id = with_input(agent, ["cat"])
    write(agent, Part(task_id=task_id, data=b"abc"))

    told = refused(lambda: write(agent, Part(task_id=task_id, offset=5, data=b"f")))

    assert (told.code, told.reason, told.domain) == (grpc.StatusCode.OUT_OF_RANGE, "INPUT_OFFSET_SKIPPED", "farspawn")
    assert told.metadata["acknowledged"] == "3"


def test_an_input_that_was_ended_takes_nothing_more(agent: Agent) -> None:
    task_id = with_input(agent, shell("cat; exec sleep 60"))
    write(agent, Part(task_id=task_id, data=b"x", end_of_input=True))

    told = refused(lambda: write(agent, Part(task_id=task_id, offset=1, data=b"y")))

    assert (told.code, told.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "INPUT_CLOSED")


def test_a_task_that_was_launched_without_an_input_takes_none(agent: Agent) -> None:
    task_id = launch(agent.stub, ["sleep", "60"]).status.task_id

    told = refused(lambda: write(agent, Part(task_id=task_id, data=b"x")))

    assert (told.code, told.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "INPUT_CLOSED")


def test_an_ended_task_takes_none(agent: Agent) -> None:
    task_id = with_input(agent, ["true"])
    until_ended(agent.stub, task_id)

    told = refused(lambda: write(agent, Part(task_id=task_id, data=b"x")))

    assert (told.code, told.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "TASK_NOT_RUNNING")


def test_an_unknown_task_takes_none(agent: Agent) -> None:
    told = refused(lambda: write(agent, Part(task_id="nobody", data=b"x")))

    assert (told.code, told.reason) == (grpc.StatusCode.NOT_FOUND, "TASK_NOT_FOUND")


def test_more_than_64_kib_at_once_is_refused(agent: Agent) -> None:
    task_id = with_input(agent, ["cat"])

    told = refused(lambda: write(agent, Part(task_id=task_id, data=b"x" * (64 * 1024 + 1))))

    assert (told.code, list(told.violations)) == (grpc.StatusCode.INVALID_ARGUMENT, ["data"])


@pytest.mark.parametrize("offset", [2**63, 2**64 - 1])
def test_an_offset_beyond_everything_is_refused(agent: Agent, offset: int) -> None:
    task_id = with_input(agent, ["cat"])

    told = refused(lambda: write(agent, Part(task_id=task_id, offset=offset, data=b"x")))

    assert (told.code, told.reason) == (grpc.StatusCode.OUT_OF_RANGE, "INPUT_OFFSET_SKIPPED")


def test_a_megabyte_reaches_a_task_whole(agent: Agent) -> None:
    task_id = with_input(agent, ["cat"])
    data = bytes(range(256)) * 4096
    step = 64 * 1024

    def parts() -> Iterator[pb.WriteInputRequest]:
        for offset in range(0, len(data), step):
            yield Part(task_id=task_id if offset == 0 else "", offset=offset, data=data[offset : offset + step])
        yield Part(offset=len(data), end_of_input=True)

    assert write(agent, *parts())[-1] == len(data)
    assert output(agent.stub, task_id) == data


def test_a_task_that_never_reads_delays_nobody_and_can_be_stopped(agent: Agent) -> None:
    task_id = with_input(agent, ["sleep", "60"])
    parts: queue.SimpleQueue[pb.WriteInputRequest] = queue.SimpleQueue()
    replies = agent.stub.WriteInput(iter(parts.get, None), timeout=PATIENCE)
    for offset in range(0, 256 * 1024, 64 * 1024):
        parts.put(Part(task_id=task_id, offset=offset, data=b"x" * 64 * 1024))
    assert next(replies).acknowledged_offset > 0

    assert until_ended(agent.stub, launch(agent.stub, shell("exit 3")).status.task_id, 10).outcome.exit_code == 3
    stop(agent.stub, task_id, AT_ONCE)
    until_ended(agent.stub, task_id, 10)

    assert refused(lambda: list(replies)).code == grpc.StatusCode.FAILED_PRECONDITION
