"""Output as programs expect it: a pipe that somebody reads, whatever they do with it; and what is told of it."""

from __future__ import annotations

import os
import pwd
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from support.agent import AT_ONCE, Agent, short_directory, until_ended
from support.disks import SmallDisk, small_disk
from support.policed import policed
from support.refused import read as refusal
from support.specs import ALWAYS, cleanup, restart, start
from support.tasks import first_lines, output, python, shell, stop
from support.waiting import PATIENCE, until

from farspawn.v1 import launcher_pb2 as pb
from farspawn.v1 import task_pb2

STDOUT, STDERR = pb.LOG_STREAM_STDOUT, pb.LOG_STREAM_STDERR
WAITS_FOR_USR1 = "import os, signal; signal.pthread_sigmask(0, [signal.SIGUSR1]); os.write(1, b'up\\n'); "
WAITS_FOR_USR1 += "signal.sigwait([signal.SIGUSR1]); "

PROGRAMS = {
    "reopened by name": shell("echo one; echo two > /dev/stdout; echo three >> /dev/stdout; echo four"),
    "reopened by both names": shell("echo one > /dev/stderr; echo two > /dev/stdout; echo three >&2"),
    "reopened through /proc": shell("echo one; echo two > /proc/self/fd/1; echo three"),
    "copied to the other": shell("seq 1 1000 | tee /dev/stderr"),
    "sought in": python("import os\nos.write(1, b'abc')\ntry: os.lseek(1, 0, 0)\nexcept OSError as e: print(e.errno)"),
    "cut": python("import os\nos.write(1, b'abc')\ntry: os.ftruncate(1, 0)\nexcept OSError as e: print(e.errno)"),
    "preallocated": shell("fallocate -l 1M /dev/stdout; echo after"),
    "an archive": [
        sys.executable,
        "-c",
        "import sys, tarfile; tarfile.open(mode='w|', fileobj=sys.stdout.buffer).close()",
    ],
    "closed by its leader": shell("echo one; exec >&-; echo two; exec 2>&-; exit 0"),
    "held by a child": shell("(sleep 0.1; echo two) & echo one; wait"),
    "without a newline": python("import os\nfor _ in range(480): os.write(1, b'x' * 65536)"),
    "of every byte": python("import os\nfor _ in range(64): os.write(1, bytes(range(256)) * 64)"),
    "in single bytes": python("import os\nfor _ in range(20_000): os.write(1, b'y')"),
    "nothing": ["true"],
}


@pytest.mark.parametrize("argv", PROGRAMS.values(), ids=PROGRAMS)
def test_output_arrives_as_through_a_pipe(agent: Agent, argv: Sequence[str]) -> None:
    expected = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    task_id = start(agent.stub, task_pb2.TaskSpec(argv=argv)).task_id

    assert output(agent.stub, task_id, STDOUT) == expected.stdout
    assert output(agent.stub, task_id, STDERR) == expected.stderr
    assert until_ended(agent.stub, task_id).outcome.exit_code == expected.returncode
    for stream in (STDOUT, STDERR):
        assert end_of(agent, pb.ReadLogsRequest(task_id=task_id, stream=stream)).complete


def test_a_zip_on_standard_output_can_be_unpacked(agent: Agent) -> None:
    body = "import sys, zipfile\nwith zipfile.ZipFile(sys.stdout.buffer, 'w') as z: z.writestr('a', 'text' * 1000)"
    task_id = start(agent.stub, task_pb2.TaskSpec(argv=[sys.executable, "-c", body])).task_id
    check = "import io, sys, zipfile; print(len(zipfile.ZipFile(io.BytesIO(sys.stdin.buffer.read())).read('a')))"

    told = subprocess.run(
        [sys.executable, "-c", check], input=output(agent.stub, task_id), capture_output=True, check=True
    )

    assert told.stdout == b"4000\n"


def test_what_a_grandchild_writes_when_its_leader_has_closed_its_output_arrives(agent: Agent) -> None:
    body = """
import os, signal
signal.pthread_sigmask(0, [signal.SIGTERM])
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        signal.sigwait([signal.SIGTERM])
        os.write(1, b"last words")
    os._exit(0)
os.close(1)
os.close(2)
"""
    task_id = start(agent.stub, task_pb2.TaskSpec(argv=python(body))).task_id

    assert output(agent.stub, task_id) == b"last words"


# --- merged ----------------------------------------------------------------------------------------------------------


def test_merged_outputs_keep_the_order_of_writing(agent: Agent) -> None:
    body = "import os\nfor n in range(5000): os.write(1 + n % 2, b'%d\\n' % n)"
    task = start(agent.stub, task_pb2.TaskSpec(argv=python(body), merge_output=True))

    assert output(agent.stub, task.task_id, STDOUT) == b"".join(b"%d\n" % number for number in range(5000))
    assert output(agent.stub, task.task_id, STDERR) == b""
    assert end_of(agent, pb.ReadLogsRequest(task_id=task.task_id, stream=STDERR)).complete


def test_merged_outputs_are_merged_under_both_names(agent: Agent) -> None:
    argv = shell("echo one > /dev/stderr; echo two > /dev/stdout; echo three >&2")
    task = start(agent.stub, task_pb2.TaskSpec(argv=argv, merge_output=True))

    assert output(agent.stub, task.task_id) == b"one\ntwo\nthree\n"


# --- bounded ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tail", [0, 100])
def test_of_an_output_beyond_its_limit_the_newest_bytes_are_kept_at_their_offsets(agent: Agent, tail: int) -> None:
    body = "import os\nfor n in range(100_000): os.write(1, b'%09d\\n' % n)"
    resources = task_pb2.Resources(log_bytes=64 << 10)
    task_id = start(agent.stub, task_pb2.TaskSpec(argv=python(body), resources=resources)).task_id
    until_ended(agent.stub, task_id)
    whole = b"".join(b"%09d\n" % number for number in range(100_000))

    request = pb.ReadLogsRequest(task_id=task_id)
    if tail:
        request.tail_lines = tail
    first, *chunks, last = read(agent, request)

    most = (64 << 10) * 6 // 5 + 4096  # a fifth more than the limit, and a block
    assert len(whole) - most <= first.header.earliest_offset <= len(whole) - (64 << 10)
    assert first.header.start_offset == (len(whole) - 10 * tail if tail else first.header.earliest_offset)
    assert data_of(chunks) == whole[first.header.start_offset :]
    assert last.end == pb.ReadLogsResponse.End(offset=len(whole), complete=True)


def test_a_task_that_outruns_its_limit_is_followed_without_a_zero_in_between(agent: Agent) -> None:
    body = "import os\nfor _ in range(4000): os.write(1, b'x' * 65536)"
    resources = task_pb2.Resources(log_bytes=64 << 10)
    task_id = start(agent.stub, task_pb2.TaskSpec(argv=python(body), resources=resources)).task_id
    seen, offset, ended = set[int](), 0, False
    while not ended:
        request = pb.ReadLogsRequest(task_id=task_id, offset=offset, follow=True)
        try:
            for part in agent.stub.ReadLogs(request, timeout=PATIENCE):
                seen.update(part.chunk.data)
                ended = part.HasField("end")
        except grpc.RpcError as error:
            told = refusal(error)
            assert told.reason == "LOG_OFFSET_EXPIRED"
            offset = int(told.metadata["earliest"])

    assert seen == {ord("x")}


# --- a disk that is full ---------------------------------------------------------------------------------------------


@pytest.fixture
def small() -> Iterator[tuple[Agent, SmallDisk]]:
    """An agent of the test's own whose state is on a small disk, and that disk."""
    with short_directory() as directory, small_disk(directory / "state") as disk, Agent(directory) as agent:
        yield agent, disk


def test_a_full_disk_makes_a_task_wait_and_costs_it_nothing(small: tuple[Agent, SmallDisk]) -> None:
    agent, disk = small
    task = start(agent.stub, task_pb2.TaskSpec(argv=python(WAITS_FOR_USR1 + "os.write(1, b'x' * 300_000)")))
    first_lines(agent.stub, task.task_id, 1)
    disk.fill()
    os.kill(task.pid, signal.SIGUSR1)
    until(lambda: is_in_write(task.pid))

    disk.empty()

    assert output(agent.stub, task.task_id) == b"up\n" + b"x" * 300_000
    assert end_of(agent, pb.ReadLogsRequest(task_id=task.task_id)) == pb.ReadLogsResponse.End(
        offset=300_003, complete=True
    )


def test_what_a_full_disk_did_not_take_is_told_as_lost(small: tuple[Agent, SmallDisk]) -> None:
    agent, disk = small
    task = start(agent.stub, task_pb2.TaskSpec(argv=python(WAITS_FOR_USR1 + "os.write(1, b'x' * 50_000)")))
    first_lines(agent.stub, task.task_id, 1)
    disk.fill()
    os.kill(task.pid, signal.SIGUSR1)
    until(lambda: not os.path.exists(f"/proc/{task.pid}"))

    disk.empty()
    until_ended(agent.stub, task.task_id)

    parts = read(agent, pb.ReadLogsRequest(task_id=task.task_id))
    end = parts[-1].end
    assert data_of(parts).startswith(b"up\n")
    assert (end.complete, end.lost_bytes + len(data_of(parts))) == (False, 50_003)
    assert end.lost_bytes > 0


# --- another user ----------------------------------------------------------------------------------------------------


def test_a_task_of_another_user_may_open_its_output_by_name() -> None:
    if os.getuid():
        pytest.skip("needs root, to run a task as another user")
    user = pwd.getpwnam("nobody").pw_name
    argv = shell("id -un; echo two > /dev/stdout; echo three > /dev/stderr; cat /dev/stdin; echo four")
    with policed(f'[policy]\nuser = "{user}"\n') as site:
        task_id = start(site.stub, task_pb2.TaskSpec(argv=argv)).task_id

        assert output(site.stub, task_id, STDOUT) == f"{user}\ntwo\nfour\n".encode()
        assert output(site.stub, task_id, STDERR) == b"three\n"


# --- when it came ----------------------------------------------------------------------------------------------------


def test_each_chunk_tells_in_which_second_it_came(agent: Agent) -> None:
    body = "import os, time\nfor _ in range(3): os.write(1, b'%d\\n' % time.time()); time.sleep(1.1)"
    task_id = start(agent.stub, task_pb2.TaskSpec(argv=python(body))).task_id

    told = [
        (int(part.chunk.data), part.chunk.written_at.seconds)
        for part in agent.stub.ReadLogs(pb.ReadLogsRequest(task_id=task_id, follow=True), timeout=PATIENCE)
        if part.HasField("chunk")
    ]
    later = [
        (int(part.chunk.data), part.chunk.written_at.seconds)
        for part in read(agent, pb.ReadLogsRequest(task_id=task_id))
        if part.HasField("chunk")
    ]

    assert len(told) == 3
    assert told == later
    assert all(0 <= came - wrote <= 1 for wrote, came in told)


def test_reading_since_a_time_leaves_out_what_came_before(agent: Agent) -> None:
    argv = python(WAITS_FOR_USR1 + "os.write(1, b'later\\n')")
    task = start(agent.stub, task_pb2.TaskSpec(argv=argv))
    first_lines(agent.stub, task.task_id, 1)
    (_, chunk, _) = read(agent, pb.ReadLogsRequest(task_id=task.task_id))
    until(lambda: time.time() > chunk.chunk.written_at.seconds + 1.1)
    since = Timestamp(seconds=chunk.chunk.written_at.seconds + 1)
    following = agent.stub.ReadLogs(
        pb.ReadLogsRequest(task_id=task.task_id, since=since, follow=True), timeout=PATIENCE
    )
    assert next(following).header.start_offset == 3

    os.kill(task.pid, signal.SIGUSR1)

    assert data_of(list(following)) == b"later\n"
    assert data_of(read(agent, pb.ReadLogsRequest(task_id=task.task_id, since=since))) == b"later\n"
    since.seconds -= 1
    assert data_of(read(agent, pb.ReadLogsRequest(task_id=task.task_id, since=since))) == b"up\nlater\n"
    assert data_of(read(agent, pb.ReadLogsRequest(task_id=task.task_id, since=since, tail_lines=1))) == b"later\n"


# --- through the attempts --------------------------------------------------------------------------------------------


def by_attempt(parts: Sequence[pb.ReadLogsResponse]) -> dict[int, bytes]:
    found, attempt = dict[int, bytes](), 0
    for part in parts:
        if part.HasField("header"):
            attempt = part.header.attempt
            found[attempt] = b""
        found[attempt] += part.chunk.data
    return found


def test_following_goes_on_through_the_attempts_of_a_task(agent: Agent) -> None:
    spec = task_pb2.TaskSpec(argv=shell("echo $FARSPAWN_ATTEMPT"), restart=restart(ALWAYS, most=3))
    task = start(agent.stub, spec)
    request = pb.ReadLogsRequest(task_id=task.task_id, attempt=1, follow=True, later_attempts=True)

    parts = list(agent.stub.ReadLogs(request, timeout=PATIENCE))

    assert by_attempt(parts) == {1: b"1\n", 2: b"2\n", 3: b"3\n", 4: b"4\n"}
    assert [part.end for part in parts if part.HasField("end")] == [pb.ReadLogsResponse.End(offset=2, complete=True)]


def test_following_one_attempt_ends_with_it(agent: Agent) -> None:
    spec = task_pb2.TaskSpec(argv=shell("echo $FARSPAWN_ATTEMPT"), restart=restart(ALWAYS))
    task = start(agent.stub, spec)

    parts = list(
        agent.stub.ReadLogs(pb.ReadLogsRequest(task_id=task.task_id, attempt=1, follow=True), timeout=PATIENCE)
    )
    stop(agent.stub, task.task_id, AT_ONCE)

    assert by_attempt(parts) == {1: b"1\n"}
    assert parts[-1].end.complete


def test_a_cleanup_writes_to_the_end_of_its_attempts_output(agent: Agent) -> None:
    spec = task_pb2.TaskSpec(argv=shell("echo out; echo err >&2"), cleanup=cleanup(shell("echo swept; echo up >&2")))
    task_id = start(agent.stub, spec).task_id

    assert output(agent.stub, task_id, STDOUT) == b"out\nswept\n"
    assert output(agent.stub, task_id, STDERR) == b"err\nup\n"
    assert end_of(agent, pb.ReadLogsRequest(task_id=task_id)).complete


def test_of_many_attempts_only_the_newest_are_kept(agent: Agent) -> None:
    spec = task_pb2.TaskSpec(argv=shell("echo $FARSPAWN_ATTEMPT"), restart=restart(ALWAYS, most=24))
    task = start(agent.stub, spec)
    until_ended(agent.stub, task.task_id)

    def attempts() -> set[int]:
        return {int(path.name.split(".")[1]) for path in (agent.state / "logs").glob(f"{task.uid}.*")}

    until(lambda: attempts() == set(range(5, 26)))


# --- helpers ---------------------------------------------------------------------------------------------------------


def read(agent: Agent, request: pb.ReadLogsRequest) -> list[pb.ReadLogsResponse]:
    return list(agent.stub.ReadLogs(request, timeout=PATIENCE))


def data_of(parts: Sequence[pb.ReadLogsResponse]) -> bytes:
    return b"".join(part.chunk.data for part in parts)


def end_of(agent: Agent, request: pb.ReadLogsRequest) -> pb.ReadLogsResponse.End:
    return read(agent, request)[-1].end


def is_in_write(pid: int) -> bool:
    """Whether a process waits in write(2) to a pipe."""
    with open(f"/proc/{pid}/wchan", encoding="ascii") as file:
        return "pipe" in file.read()
