"""`farspawn run`: a task on a site that feels like a program started here."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from typing import IO

import pytest
from support.agent import Agent, plain_environment
from support.tasks import new_id, output, status_of
from support.waiting import PATIENCE, until

from farspawn.v1 import task_pb2


class Command:
    """Starts the command `farspawn` for a site. What still runs at the end is killed."""

    def __init__(self, address: str, stack: ExitStack) -> None:
        self._environment = {**plain_environment(), "FARSPAWN_SITE": address}
        self._stack = stack

    def start(
        self, *words: str, stdin: int | IO[bytes] = subprocess.DEVNULL, one_place: bool = False
    ) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "farspawn", *words],
            env=self._environment,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if one_place else subprocess.PIPE,
        )
        self._stack.enter_context(process)
        self._stack.callback(process.kill)
        return process

    def __call__(self, *words: str) -> tuple[int, str, str]:
        process = self.start(*words)
        out, err = process.communicate(timeout=PATIENCE)
        return process.returncode, out.decode(), err.decode()


@pytest.fixture
def farspawn(agent: Agent) -> Iterator[Command]:
    with ExitStack() as stack:
        yield Command(agent.address, stack)


def line(stream: IO[bytes] | None) -> str:
    assert stream is not None
    return stream.readline().decode()


def test_output_and_exit_code_are_the_tasks(farspawn: Command) -> None:
    assert farspawn("run", "-e", "WORD=out", "sh", "-c", "echo $WORD; echo err >&2; exit 3") == (3, "out\n", "err\n")


@pytest.mark.parametrize(
    ("command", "code", "words"),
    [
        (["sh", "-c", "kill -9 $$"], 128 + 9, ""),
        (["/no/such/program"], 127, "/no/such/program: No such file or directory"),
        (["/etc/passwd"], 126, "/etc/passwd: Permission denied"),
        (["--cwd", "/no/such/directory", "true"], 125, "/no/such/directory: No such file or directory"),
        (["--id", "not an id", "true"], 125, "task_id"),
    ],
)
def test_other_ends_have_the_codes_of_a_shell_and_of_docker(
    farspawn: Command, command: list[str], code: int, words: str
) -> None:
    returncode, out, err = farspawn("run", *command)

    assert (returncode, out) == (code, "")
    assert words in err


def test_a_site_that_is_not_there_is_not_the_task(farspawn: Command) -> None:
    code, _, err = farspawn("run", "--site", "unix:/no/such/socket", "true")

    assert code == 125
    assert "start an agent with `farspawnd`" in err


def test_output_comes_while_the_task_runs(farspawn: Command) -> None:
    running = farspawn.start("run", "sh", "-c", "echo up; exec sleep 60")

    assert line(running.stdout) == "up\n"
    assert running.poll() is None


def test_ctrl_c_goes_to_the_task(farspawn: Command) -> None:
    running = farspawn.start("run", "sh", "-c", "trap 'exit 7' INT; echo up; while :; do sleep 0.01; done")
    assert line(running.stdout) == "up\n"

    running.send_signal(signal.SIGINT)

    assert running.wait(PATIENCE) == 7


def test_ctrl_c_twice_kills_a_task_that_does_not_listen(farspawn: Command) -> None:
    script = "import signal, time; signal.signal(2, lambda *_: print('no', flush=True)); print('up', flush=True)\n"
    running = farspawn.start("run", sys.executable, "-c", script + "while True: time.sleep(60)")
    assert line(running.stdout) == "up\n"

    running.send_signal(signal.SIGINT)
    assert line(running.stdout) == "no\n"
    running.send_signal(signal.SIGINT)

    assert running.wait(PATIENCE) == 128 + 9


def test_sigterm_goes_to_the_task(farspawn: Command) -> None:
    running = farspawn.start("run", "sh", "-c", "echo up; exec sleep 60")
    assert line(running.stdout) == "up\n"

    running.terminate()

    assert running.wait(PATIENCE) == 128 + 15


def test_rm_forgets_the_task(agent: Agent, farspawn: Command) -> None:
    task_id = new_id()

    assert farspawn("run", "--rm", "--id", task_id, "true")[0] == 0
    assert farspawn("poll", task_id)[0] == 1
    assert not agent.live_tasks()


def test_our_input_is_the_tasks(farspawn: Command) -> None:
    running = farspawn.start("run", "-i", "sh", "-c", "read word; echo $word; cat; exit 4", stdin=subprocess.PIPE)
    assert running.stdin is not None
    running.stdin.write(b"one\n")
    running.stdin.flush()
    assert line(running.stdout) == "one\n"

    out, _ = running.communicate(b"two\n", timeout=PATIENCE)

    assert (running.returncode, out) == (4, b"two\n")


def test_a_file_is_an_input_and_a_task_that_does_not_read_it_is_no_error(farspawn: Command) -> None:
    with open(__file__, "rb") as file:
        counting = farspawn.start("run", "-i", "wc", "-c", stdin=file)
        out, err = counting.communicate(timeout=PATIENCE)
    deaf = farspawn.start("run", "-i", "true", stdin=subprocess.PIPE)

    assert (int(out), err) == (os.path.getsize(__file__), b"")
    assert deaf.wait(PATIENCE) == 0


def test_without_i_a_task_has_no_input(farspawn: Command) -> None:
    running = farspawn.start("run", "cat", stdin=subprocess.PIPE)

    assert running.wait(PATIENCE) == 0


def test_every_attempt_is_shown(farspawn: Command) -> None:
    script = 'echo attempt $FARSPAWN_ATTEMPT; [ "$FARSPAWN_ATTEMPT" = 2 ]'

    assert farspawn("run", "--restart", "on-failure:3", "sh", "-c", script) == (0, "attempt 1\nattempt 2\n", "")


def test_a_lease_is_kept_while_it_runs_and_not_after(agent: Agent, farspawn: Command) -> None:
    task_id = new_id()
    # Nobody but `run` keeps it alive over its ttl.
    running = farspawn.start("run", "--id", task_id, "--lease", "1.5s", "sh", "-c", "sleep 3; echo on; exec sleep 60")
    assert line(running.stdout) == "on\n"

    running.kill()

    until(lambda: status_of(agent.stub, task_id).outcome.cause == task_pb2.CAUSE_LEASE_EXPIRED)


def test_json_has_a_line_for_each_line_and_the_end(farspawn: Command) -> None:
    code, out, _ = farspawn("run", "--json", "--cleanup", "sh -c 'exit 9'", "sh", "-c", "echo hi; exit 2")

    first, last = map(json.loads, out.splitlines())
    assert code == 2
    assert first == {"stream": "stdout", "offset": 0, "text": "hi\n"}
    assert last["status"]["outcome"]["exit_code"] == 2
    assert last["status"]["outcome"]["cleanup"]["exit_code"] == 9


def test_nobody_reading_ends_the_task_as_a_pipe_would(agent: Agent, farspawn: Command) -> None:
    task_id = new_id()
    running = farspawn.start("run", "--id", task_id, "yes")
    assert line(running.stdout) == "y\n"

    assert running.stdout is not None
    running.stdout.close()

    assert running.wait(PATIENCE) == 128 + 13
    assert status_of(agent.stub, task_id).outcome.cause == task_pb2.CAUSE_STOP_REQUESTED
    assert output(agent.stub, task_id).startswith(b"y\n")


def test_outputs_that_end_up_in_one_place_arrive_in_the_order_of_writing(farspawn: Command) -> None:
    script = "echo one >> /dev/stdout; echo two >> /dev/stderr; echo three; echo four >&2"
    process = farspawn.start("run", "sh", "-c", script, one_place=True)

    assert process.communicate(timeout=PATIENCE)[0] == b"one\ntwo\nthree\nfour\n"
