"""ReadLogs: bytes by offset, by tail, and while they grow."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence

import grpc
import pytest
from support.agent import AT_ONCE, Agent, until_ended
from support.refused import refused
from support.tasks import first_lines, launch, output, python, shell, stop
from support.waiting import PATIENCE, until

from farspawn.v1 import launcher_pb2 as pb


def ended(agent: Agent, argv: Sequence[str]) -> str:
    task_id = launch(agent.stub, argv).status.task_id
    until_ended(agent.stub, task_id)
    return task_id


def read(agent: Agent, request: pb.ReadLogsRequest) -> list[pb.ReadLogsResponse]:
    return list(agent.stub.ReadLogs(request, timeout=PATIENCE))


def data_of(parts: Sequence[pb.ReadLogsResponse]) -> bytes:
    return b"".join(part.chunk.data for part in parts)


def test_parts_come_as_header_chunks_end(agent: Agent) -> None:
    task_id = ended(agent, ["echo", "hello"])

    first, middle, last = read(agent, pb.ReadLogsRequest(task_id=task_id))

    assert first.header == pb.ReadLogsResponse.Header(earliest_offset=0, start_offset=0, attempt=1)
    assert (middle.chunk.offset, middle.chunk.data) == (0, b"hello\n")
    assert last.end == pb.ReadLogsResponse.End(offset=6, complete=True)


def test_any_bytes_come_back_as_they_were_written(agent: Agent) -> None:
    task_id = ended(agent, python("import os; os.write(1, bytes(range(256)) * 4)"))

    assert data_of(read(agent, pb.ReadLogsRequest(task_id=task_id))) == bytes(range(256)) * 4


def test_the_two_outputs_are_apart(agent: Agent) -> None:
    task_id = ended(agent, shell("echo out; echo err >&2"))

    assert output(agent.stub, task_id, pb.LOG_STREAM_UNSPECIFIED) == b"out\n"
    assert output(agent.stub, task_id, pb.LOG_STREAM_STDOUT) == b"out\n"
    assert output(agent.stub, task_id, pb.LOG_STREAM_STDERR) == b"err\n"


def test_more_than_a_chunk_comes_in_chunks_without_gaps(agent: Agent) -> None:
    task_id = ended(agent, shell("seq 1 100000"))
    expected = b"".join(b"%d\n" % number for number in range(1, 100_001))

    _, *chunks, end = read(agent, pb.ReadLogsRequest(task_id=task_id))

    assert data_of(chunks) == expected
    assert max(len(part.chunk.data) for part in chunks) == 64 * 1024
    assert end.end.offset == len(expected)


@pytest.mark.parametrize(("offset", "rest"), [(0, b"0123456789"), (4, b"456789"), (10, b"")])
def test_reading_starts_at_an_offset(agent: Agent, offset: int, rest: bytes) -> None:
    task_id = ended(agent, shell("printf 0123456789"))

    parts = read(agent, pb.ReadLogsRequest(task_id=task_id, offset=offset))

    assert parts[0].header.start_offset == offset
    assert data_of(parts) == rest
    assert parts[-1].end.offset == 10


@pytest.mark.parametrize("offset", [11, 2**63, 2**64 - 1])
def test_an_offset_past_the_end_is_refused_with_what_is_there(agent: Agent, offset: int) -> None:
    task_id = ended(agent, shell("printf 0123456789"))

    told = refused(lambda: read(agent, pb.ReadLogsRequest(task_id=task_id, offset=offset)))

    assert (told.code, told.reason, told.domain) == (grpc.StatusCode.OUT_OF_RANGE, "LOG_OFFSET_EXPIRED", "farspawn")
    assert told.metadata == {"earliest": "0", "next": "10"}


@pytest.mark.parametrize(
    ("text", "lines", "tail"),
    [
        (r"a\nb\nc\n", 0, b""),
        (r"a\nb\nc\n", 1, b"c\n"),
        (r"a\nb\nc\n", 2, b"b\nc\n"),
        (r"a\nb\nc\n", 3, b"a\nb\nc\n"),
        (r"a\nb\nc\n", 2**32 - 1, b"a\nb\nc\n"),
        (r"a\nb\nc", 1, b"c"),
        (r"a\n\n\n", 2, b"\n\n"),
        ("", 5, b""),
    ],
)
def test_reading_starts_at_the_last_lines(agent: Agent, text: str, lines: int, tail: bytes) -> None:
    task_id = ended(agent, ["/usr/bin/printf", text])

    assert data_of(read(agent, pb.ReadLogsRequest(task_id=task_id, tail_lines=lines))) == tail


def test_lines_are_looked_for_in_the_last_mebibyte_only(agent: Agent) -> None:
    task_id = ended(agent, python("import os; os.write(1, b'first\\n' + b'x' * (3 << 20))"))

    parts = read(agent, pb.ReadLogsRequest(task_id=task_id, tail_lines=2))

    assert len(data_of(parts)) == 1 << 20


def test_following_goes_on_until_the_task_has_ended_and_says_that_it_is_complete(agent: Agent) -> None:
    body = "import os, signal; os.write(1, b'one\\n'); signal.sigwait([signal.SIGUSR1]); os.write(1, b'two\\n')"
    body = f"import signal; signal.pthread_sigmask(0, [signal.SIGUSR1]); {body}"
    task = launch(agent.stub, python(body)).status
    parts = agent.stub.ReadLogs(pb.ReadLogsRequest(task_id=task.task_id, follow=True), timeout=PATIENCE)
    assert next(parts).HasField("header")
    assert next(parts).chunk.data == b"one\n"

    os.kill(task.pid, signal.SIGUSR1)

    rest = [part for part in parts if not part.HasField("checkpoint")]
    assert data_of(rest) == b"two\n"
    assert rest[-1].end == pb.ReadLogsResponse.End(offset=8, complete=True)


def test_reading_without_following_ends_at_what_is_there_and_is_not_complete(agent: Agent) -> None:
    task_id = launch(agent.stub, shell("echo one; exec sleep 60")).status.task_id
    first_lines(agent.stub, task_id, 1)

    parts = read(agent, pb.ReadLogsRequest(task_id=task_id))

    assert data_of(parts) == b"one\n"
    assert parts[-1].end == pb.ReadLogsResponse.End(offset=4, complete=False)


def test_what_a_child_writes_after_its_leader_is_followed_too(agent: Agent) -> None:
    body = """
import os, signal
signal.pthread_sigmask(0, [signal.SIGTERM])
if os.fork() == 0:
    signal.sigwait([signal.SIGTERM])
    os.write(1, b"last words")
"""
    task_id = launch(agent.stub, python(body)).status.task_id

    assert output(agent.stub, task_id) == b"last words"


def test_fifty_followers_all_read_everything(agent: Agent) -> None:
    task_id = launch(agent.stub, shell("i=0; while [ $i -lt 2000 ]; do echo line $i; i=$((i+1)); done")).status.task_id
    request = pb.ReadLogsRequest(task_id=task_id, follow=True)
    streams = [agent.stub.ReadLogs(request, timeout=PATIENCE) for _ in range(50)]

    outputs = {data_of(list(stream)) for stream in streams}

    assert outputs == {b"".join(b"line %d\n" % number for number in range(2000))}


def test_a_reader_that_never_reads_does_not_stop_the_task(agent: Agent) -> None:
    task_id = launch(agent.stub, python("import os\nfor _ in range(512): os.write(1, b'x' * 65536)")).status.task_id
    stream = agent.stub.ReadLogs(pb.ReadLogsRequest(task_id=task_id, follow=True), timeout=PATIENCE)

    assert until_ended(agent.stub, task_id).outcome.exit_code == 0
    assert sum(len(part.chunk.data) for part in stream) == 512 * 65536


def test_a_reader_that_goes_away_in_the_middle_is_no_error_of_the_agent(agent: Agent) -> None:
    task_id = ended(agent, ["head", "-c", "64M", "/dev/zero"])

    for _ in range(5):
        stream = agent.stub.ReadLogs(pb.ReadLogsRequest(task_id=task_id), timeout=PATIENCE)
        assert next(stream).HasField("header")
        stream.cancel()

    assert len(output(agent.stub, task_id)) == 64 << 20
    agent.check_log()


def test_output_that_was_deleted_while_it_was_read_is_not_called_complete(agent: Agent) -> None:
    task_id = ended(agent, python("import os\nfor _ in range(1024): os.write(1, b'x' * 65536)"))
    stream = agent.stub.ReadLogs(pb.ReadLogsRequest(task_id=task_id), timeout=PATIENCE)
    assert next(stream).HasField("header")

    agent.stub.DeleteTask(pb.DeleteTaskRequest(task_id=task_id))

    told = refused(lambda: list(stream))
    assert (told.code, told.reason) == (grpc.StatusCode.NOT_FOUND, "TASK_NOT_FOUND")


@pytest.mark.parametrize("attempt", [-1, 2, 2**31 - 1])
def test_an_attempt_that_never_was_is_refused(agent: Agent, attempt: int) -> None:
    task_id = ended(agent, ["true"])

    told = refused(lambda: read(agent, pb.ReadLogsRequest(task_id=task_id, attempt=attempt)))

    assert (told.code, list(told.violations)) == (grpc.StatusCode.INVALID_ARGUMENT, ["attempt"])


def test_an_unknown_stream_is_refused(agent: Agent) -> None:
    task_id = ended(agent, ["true"])

    told = refused(lambda: read(agent, pb.ReadLogsRequest(task_id=task_id, stream=77)))  # type: ignore[arg-type]

    assert (told.code, list(told.violations)) == (grpc.StatusCode.INVALID_ARGUMENT, ["stream"])


def test_the_logs_of_a_stopped_task_can_be_read(agent: Agent) -> None:
    task_id = launch(agent.stub, shell("echo up; exec sleep 60")).status.task_id
    first_lines(agent.stub, task_id, 1)
    stop(agent.stub, task_id)
    until_ended(agent.stub, task_id)

    assert output(agent.stub, task_id) == b"up\n"


@pytest.mark.parametrize("tail_lines", [0, 3])
def test_the_log_of_a_task_that_goes_on_writing_is_read_to_where_it_was(agent: Agent, tail_lines: int) -> None:
    # The task's own pace: without it, it would fill the disk.
    body = "import os, time\nwhile True: os.write(1, b'012345678\\n' * 100); time.sleep(0.002)"
    task_id = launch(agent.stub, python(body)).status.task_id
    until(lambda: len(data_of(read(agent, pb.ReadLogsRequest(task_id=task_id)))) > 10_000)
    request = pb.ReadLogsRequest(task_id=task_id, offset=0)
    if tail_lines:
        request.tail_lines = tail_lines

    for _ in range(10):
        header, *chunks, end = read(agent, request)
        data = data_of(chunks)

        assert len(data) == end.end.offset - header.header.start_offset
        assert data.startswith(b"012345678\n" * 3)
        assert not end.end.complete
    stop(agent.stub, task_id, AT_ONCE)
