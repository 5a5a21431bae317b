"""What is written to a task's input arrives whole, once and in order, whatever happens; or the writer is told."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import subprocess
import threading
from pathlib import Path

import grpc
import pytest
from support.agent import AT_ONCE, Agent, farspawnd, plain_environment, until_ended
from support.hanging import hung_program
from support.refused import read, refused
from support.specs import ALWAYS, restart, start, until_state
from support.tasks import first_lines, launch, new_id, output, plan, shell, status_of, stop
from support.waiting import PATIENCE, until
from support.writer import CHUNK, Writer, pieces, write_all

from farspawn.v1 import task_pb2

PIPE_BYTES = 64 * 1024
"""What a pipe holds whose reader does not read: pipe(7)."""


def reader(agent: Agent, script: str, again: task_pb2.RestartPolicy | None = None) -> str:
    """Start a script with an open input, and return its task's id."""
    return start(agent.stub, task_pb2.TaskSpec(argv=shell(script), open_input=True, restart=again)).task_id


def noise(size: int) -> bytes:
    return random.Random(size).randbytes(size)


def summed(data: bytes) -> bytes:
    """What sha256sum writes of its standard input."""
    return f"{hashlib.sha256(data).hexdigest()}  -\n".encode()


def test_what_is_written_is_acknowledged_by_its_end_and_read_by_the_task(agent: Agent) -> None:
    task_id = reader(agent, "exec cat")

    with Writer(agent.stub, task_id) as writer:
        answers = [writer.write(0, b"one\n"), writer.write(4, b"three\n", end=True)]
        rest = writer.half_close()

    assert answers == [4, 10]
    assert rest == []
    assert until_ended(agent.stub, task_id).outcome.exit_code == 0
    assert output(agent.stub, task_id) == b"one\nthree\n"


def test_many_messages_may_be_on_their_way_at_once(agent: Agent) -> None:
    data = noise(20 * CHUNK)
    task_id = reader(agent, "exec sha256sum")

    with Writer(agent.stub, task_id) as writer:
        for offset, piece in pieces(data):
            writer.send(offset, piece)
        writer.send(len(data), b"", end=True)
        answers = writer.half_close()

    assert answers == [*range(CHUNK, len(data) + 1, CHUNK), len(data)]
    assert output(agent.stub, task_id) == summed(data)


def test_ten_megabytes_arrive_exactly(agent: Agent) -> None:
    data = noise(10_000_001)
    task_id = reader(agent, "exec sha256sum")

    assert write_all(agent.stub, task_id, data) == len(data)

    assert output(agent.stub, task_id) == summed(data)


def test_an_empty_message_asks_where_to_resume(agent: Agent) -> None:
    task_id = reader(agent, "exec cat")

    with Writer(agent.stub, task_id) as writer:
        before = writer.write(0, b"")
        writer.write(0, b"12345")
        after = writer.write(0, b"")

    assert (before, after) == (0, 5)


def test_bytes_that_come_again_are_skipped(agent: Agent) -> None:
    task_id = reader(agent, "exec cat")

    with Writer(agent.stub, task_id) as writer:
        answers = [writer.write(0, b"abc"), writer.write(0, b"abc"), writer.write(1, b"bcdef"), writer.write(0, b"ab")]
        writer.write(6, b"", end=True)

    assert answers == [3, 3, 6, 6]
    assert output(agent.stub, task_id) == b"abcdef"


def test_a_gap_is_refused_with_the_place_to_go_on_from(agent: Agent) -> None:
    task_id = reader(agent, "exec cat")

    with Writer(agent.stub, task_id) as writer:
        writer.write(0, b"abc")
        no = refused(lambda: writer.write(4, b"e"))
    with Writer(agent.stub, task_id) as writer:
        writer.write(int(no.metadata["acknowledged"]), b"de", end=True)

    assert (no.code, no.reason) == (grpc.StatusCode.OUT_OF_RANGE, "INPUT_OFFSET_SKIPPED")
    assert no.metadata["acknowledged"] == "3"
    assert output(agent.stub, task_id) == b"abcde"


def test_the_end_may_be_said_again(agent: Agent) -> None:
    task_id = reader(agent, "cat; echo ended; exec sleep 60")

    with Writer(agent.stub, task_id) as writer:
        first = writer.write(0, b"all\n", end=True)
    first_lines(agent.stub, task_id, 2)
    with Writer(agent.stub, task_id) as writer:
        again = writer.write(0, b"all\n", end=True)

    assert (first, again) == (4, 4)


@pytest.mark.parametrize(("offset", "data", "end"), [(4, b"more", False), (0, b"all\n", False), (4, b"more", True)])
def test_nothing_can_be_written_after_the_end(agent: Agent, offset: int, data: bytes, end: bool) -> None:
    task_id = reader(agent, "cat; echo ended; exec sleep 60")
    with Writer(agent.stub, task_id) as writer:
        writer.write(0, b"all\n", end=True)
    first_lines(agent.stub, task_id, 2)

    with Writer(agent.stub, task_id) as writer:
        no = refused(lambda: writer.write(offset, data, end=end))

    assert (no.code, no.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "INPUT_CLOSED")


def test_a_half_closed_call_is_not_the_end_of_the_input(agent: Agent) -> None:
    task_id = reader(agent, "exec cat")

    for offset, data in ((0, b"one "), (4, b"two ")):
        with Writer(agent.stub, task_id) as writer:
            writer.send(offset, data)
            writer.half_close()
    with Writer(agent.stub, task_id) as writer:
        writer.write(8, b"three", end=True)

    assert output(agent.stub, task_id) == b"one two three"


def test_a_server_that_was_killed_goes_on_where_the_pipe_is(own_agent: Agent) -> None:
    data = noise(40 * CHUNK)
    task_id = reader(own_agent, "exec sha256sum")
    with Writer(own_agent.stub, task_id) as writer:
        for offset, piece in pieces(data[: 20 * CHUNK]):
            writer.write(offset, piece)
        writer.send(20 * CHUNK, data[20 * CHUNK : 21 * CHUNK])  # whose answer may be lost

        own_agent.kill_server()

    assert write_all(own_agent.stub, task_id, data) == len(data)
    assert output(own_agent.stub, task_id) == summed(data)


def test_a_writer_that_waited_when_the_server_was_killed_loses_and_doubles_nothing(
    own_agent: Agent, tmp_path: Path
) -> None:
    data = noise(3 * PIPE_BYTES)
    task_id = reader(own_agent, f"while [ ! -e {tmp_path}/go ]; do sleep 0.02; done; exec sha256sum")
    with Writer(own_agent.stub, task_id) as writer:
        writer.write(0, data[:CHUNK])
        writer.send(CHUNK, data[CHUNK : 2 * CHUNK])

        own_agent.kill_server()

    (tmp_path / "go").touch()
    assert write_all(own_agent.stub, task_id, data) == len(data)
    assert output(own_agent.stub, task_id) == summed(data)


def test_a_keeper_that_was_reloaded_goes_on_where_the_pipe_is(own_agent: Agent) -> None:
    data = noise(10 * CHUNK)
    task_id = reader(own_agent, "exec sha256sum")
    with Writer(own_agent.stub, task_id) as writer:
        for offset, piece in pieces(data[: 5 * CHUNK]):
            writer.write(offset, piece)

    reload(own_agent)
    with Writer(own_agent.stub, task_id) as writer:
        taken = writer.write(0, b"")
    write_all(own_agent.stub, task_id, data)

    assert taken == 5 * CHUNK
    assert output(own_agent.stub, task_id) == summed(data)


def test_the_end_of_an_input_comes_after_a_reload_too(own_agent: Agent) -> None:
    task_id = reader(own_agent, "exec cat")
    reload(own_agent)
    reload(own_agent)

    write_all(own_agent.stub, task_id, b"after two reloads")

    assert until_ended(own_agent.stub, task_id).outcome.exit_code == 0


def test_an_end_that_is_said_again_after_a_reload_is_still_right(own_agent: Agent) -> None:
    task_id = reader(own_agent, "cat; echo ended; exec sleep 60")
    with Writer(own_agent.stub, task_id) as writer:
        writer.write(0, b"all\n", end=True)
    first_lines(own_agent.stub, task_id, 2)

    reload(own_agent)
    with Writer(own_agent.stub, task_id) as writer:
        again = writer.write(0, b"all\n", end=True)

    assert again == 4


def reload(agent: Agent) -> None:
    command = farspawnd("--state", str(agent.state), "reload")
    subprocess.run(command, env=plain_environment(), capture_output=True, check=True, timeout=PATIENCE)
    agent.until_serving()


def test_a_task_that_does_not_read_makes_only_its_writer_wait(agent: Agent, tmp_path: Path) -> None:
    data = noise(4 * PIPE_BYTES)
    idle = reader(agent, f"while [ ! -e {tmp_path}/go ]; do sleep 0.02; done; exec sha256sum")
    busy = reader(agent, "exec sha256sum")
    with Writer(agent.stub, idle) as writer:
        writer.write(0, data[:CHUNK])
        writer.send(CHUNK, data[CHUNK : 2 * CHUNK])

        write_all(agent.stub, busy, data)
        beside = launch(agent.stub, ["true"]).status.task_id

        assert output(agent.stub, busy) == summed(data)
        assert until_ended(agent.stub, beside).outcome.exit_code == 0
        (tmp_path / "go").touch()
        assert writer.answer() == 2 * CHUNK


def test_a_writer_that_waits_is_sent_away_when_its_task_ends(agent: Agent) -> None:
    task_id = reader(agent, "exec sleep 60")
    with Writer(agent.stub, task_id) as writer:
        writer.write(0, noise(CHUNK))
        writer.send(CHUNK, noise(CHUNK))

        stop(agent.stub, task_id, AT_ONCE)
        no = refused(writer.answer)

    assert (no.code, no.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "INPUT_CLOSED")


def test_a_writer_that_gave_up_leaves_the_input_to_the_next(agent: Agent, tmp_path: Path) -> None:
    data = noise(3 * CHUNK)
    task_id = reader(agent, f"while [ ! -e {tmp_path}/go ]; do sleep 0.02; done; exec sha256sum")
    with Writer(agent.stub, task_id) as writer:
        writer.write(0, data[:CHUNK])
        writer.send(CHUNK, data[CHUNK : 2 * CHUNK])

    (tmp_path / "go").touch()
    write_all(agent.stub, task_id, data)

    assert output(agent.stub, task_id) == summed(data)


def test_two_writers_of_the_same_bytes_make_one_input(agent: Agent) -> None:
    data = noise(30 * CHUNK)
    task_id = reader(agent, "exec sha256sum")

    writers = [threading.Thread(target=insist, args=(agent, task_id, data)) for _ in range(2)]
    for each in writers:
        each.start()
    for each in writers:
        each.join(PATIENCE)
    with Writer(agent.stub, task_id) as writer:
        writer.write(len(data), b"", end=True)

    assert output(agent.stub, task_id) == summed(data)


def insist(agent: Agent, task_id: str, data: bytes) -> None:
    """Write data to the end, as a client does that is told now and then to send something again."""
    taken = 0
    while taken < len(data):
        try:
            with Writer(agent.stub, task_id) as writer:
                while taken < len(data):
                    taken = writer.write(taken, data[taken : taken + CHUNK])
        except grpc.RpcError as error:
            no = read(error)
            assert no.reason == "INPUT_OFFSET_SKIPPED", no
            taken = int(no.metadata["acknowledged"])


def test_a_task_that_closed_its_input_says_so(agent: Agent) -> None:
    task_id = reader(agent, "exec 0<&-; echo closed; exec sleep 60")
    first_lines(agent.stub, task_id, 1)

    with Writer(agent.stub, task_id) as writer:
        no = refused(lambda: writer.write(0, b"hello?"))

    assert (no.code, no.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "INPUT_CLOSED")
    assert status_of(agent.stub, task_id).state == task_pb2.TASK_STATE_RUNNING


def test_a_task_without_an_input_reads_its_end_and_refuses_writers(agent: Agent) -> None:
    task_id = launch(agent.stub, shell("cat; echo ended; exec sleep 60")).status.task_id
    first_lines(agent.stub, task_id, 1)

    with Writer(agent.stub, task_id) as writer:
        no = refused(lambda: writer.write(0, b"hello?"))

    assert (no.code, no.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "INPUT_CLOSED")


def test_an_ended_task_has_no_input(agent: Agent) -> None:
    task_id = reader(agent, "true")
    until_ended(agent.stub, task_id)

    with Writer(agent.stub, task_id) as writer:
        no = refused(lambda: writer.write(0, b"hello?"))

    assert (no.code, no.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "TASK_NOT_RUNNING")


def test_a_task_that_is_being_started_has_no_input_yet(agent: Agent, tmp_path: Path) -> None:
    with hung_program(tmp_path / "hangs") as program:
        spec = task_pb2.TaskSpec(argv=[program.path], open_input=True)
        task_id = start(agent.stub, spec).task_id
        program.until_executing()

        with Writer(agent.stub, task_id) as writer:
            no = refused(lambda: writer.write(0, b"hello?"))

    assert (no.code, no.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "TASK_NOT_RUNNING")


def test_an_unknown_task_has_no_input(agent: Agent) -> None:
    with Writer(agent.stub, new_id()) as writer:
        no = refused(lambda: writer.write(0, b"hello?"))

    assert (no.code, no.reason) == (grpc.StatusCode.NOT_FOUND, "TASK_NOT_FOUND")


def test_a_message_that_is_too_large_is_refused_and_writes_nothing(agent: Agent) -> None:
    task_id = reader(agent, "exec cat")

    with Writer(agent.stub, task_id) as writer:
        no = refused(lambda: writer.write(0, bytes(CHUNK + 1)))
    with Writer(agent.stub, task_id) as writer:
        taken = writer.write(0, b"")

    assert no.code is grpc.StatusCode.INVALID_ARGUMENT
    assert list(no.violations) == ["data"]
    assert taken == 0


def test_a_call_without_a_message_is_refused(agent: Agent) -> None:
    with Writer(agent.stub, "any") as writer:
        no = refused(writer.half_close)

    assert no.code is grpc.StatusCode.INVALID_ARGUMENT


def test_each_attempt_has_an_input_of_its_own_from_the_beginning(agent: Agent) -> None:
    script = "read line; echo $FARSPAWN_ATTEMPT $line; [ $line != last ]"
    task_id = reader(agent, script, restart(ALWAYS, most=1))

    with Writer(agent.stub, task_id) as writer:
        writer.write(0, b"first\n")
    until(lambda: status_of(agent.stub, task_id).attempt == 2)
    until_state(agent.stub, task_id, task_pb2.TASK_STATE_RUNNING)
    with Writer(agent.stub, task_id) as writer:
        taken = writer.write(0, b"last\n")
    ended = until_ended(agent.stub, task_id)

    assert taken == 5
    assert [ended.earlier_attempts[0].outcome.exit_code, ended.outcome.exit_code] == [0, 1]


def test_a_stop_that_lets_the_task_end_by_itself_lets_it_read_on(agent: Agent) -> None:
    task_id = reader(agent, "exec cat")
    stop(agent.stub, task_id, plan(drain=3600))

    write_all(agent.stub, task_id, b"last words")

    assert until_ended(agent.stub, task_id).outcome.exit_code == 0
    assert output(agent.stub, task_id) == b"last words"


def test_who_outlives_the_leader_reads_the_end(agent: Agent) -> None:
    script = "exec 3<&0; (cat <&3; echo over) & exit 0"
    task_id = start(agent.stub, task_pb2.TaskSpec(argv=shell(script), open_input=True, stop=plan(linger=3600))).task_id

    assert until_ended(agent.stub, task_id).outcome.exit_code == 0
    assert output(agent.stub, task_id) == b"over\n"


def test_a_task_that_inherits_nobodys_input_reads_the_end_of_its_own(agent: Agent) -> None:
    """A copy of the writing end in another task would keep this one waiting for ever."""
    first = reader(agent, "exec cat")
    launch(agent.stub, ["sleep", "60"])

    write_all(agent.stub, first, b"done")

    assert until_ended(agent.stub, first).outcome.exit_code == 0


def test_a_writer_survives_a_task_that_is_stopped_and_continued(agent: Agent) -> None:
    data = noise(4 * CHUNK)
    task_id = reader(agent, "exec sha256sum")
    pid = status_of(agent.stub, task_id).pid
    os.kill(pid, signal.SIGSTOP)
    with Writer(agent.stub, task_id) as writer:
        for offset, piece in pieces(data):
            writer.send(offset, piece)
        writer.send(len(data), b"", end=True)
        first = writer.answer()

        os.kill(pid, signal.SIGCONT)
        rest = writer.half_close()

    assert [first, *rest][-1] == len(data)
    assert output(agent.stub, task_id) == summed(data)
