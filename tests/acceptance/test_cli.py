"""Every command of `farspawn` once against a real agent, for people and in JSON."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

import pytest
from support.agent import Agent, plain_environment, until_ended
from support.tasks import first_lines, launch, new_id, shell, status_of
from support.waiting import PATIENCE, until

from farspawn.v1 import task_pb2

Farspawn = Callable[..., tuple[int, str, str]]


@pytest.fixture
def start(agent: Agent) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Starts the command; what still runs at the end is killed."""
    with ExitStack() as stack:

        def begin(*words: str, stdout: int | IO[bytes] = subprocess.PIPE) -> subprocess.Popen[bytes]:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "farspawn", *words],
                env={**plain_environment(), "FARSPAWN_SITE": agent.address, "TERM": "xterm"},
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=subprocess.PIPE,
            )
            stack.enter_context(process)
            stack.callback(process.kill)
            return process

        yield begin


@pytest.fixture
def farspawn(start: Callable[..., subprocess.Popen[bytes]]) -> Farspawn:
    """Runs the command to its end; returns exit code, output and errors."""

    def run(*words: str) -> tuple[int, str, str]:
        process = start(*words)
        out, err = process.communicate(timeout=PATIENCE)
        return process.returncode, out.decode(), err.decode()

    return run


def in_json(told: tuple[int, str, str]) -> Any:
    assert told[0] == 0, told
    return json.loads(told[1])


def test_launch_prints_the_id_and_returns(agent: Agent, farspawn: Farspawn) -> None:
    task_id = new_id()

    assert farspawn("launch", "--id", task_id, "sleep", "60") == (0, f"{task_id}\n", "")

    again = in_json(farspawn("launch", "--json", "--id", task_id, "sleep", "60"))
    assert (again["created"], again["status"]["state"]) == (False, "RUNNING")
    code, _, err = farspawn("launch", "--id", task_id, "sleep", "61")
    assert (code, task_id in err) == (1, True)
    assert status_of(agent.stub, task_id).state == task_pb2.TASK_STATE_RUNNING


def test_launch_waits_until_the_task_is_ready(farspawn: Farspawn) -> None:
    script = ["sh", "-c", "echo server is listening; exec sleep 60"]

    told = in_json(farspawn("launch", "--json", "--ready-line", "*listening*", "--wait-ready", *script))
    never = farspawn("launch", "--ready-file", "/no/such/file", "--wait-ready", "true")

    assert told["status"]["ready"] is True
    assert never[0] == 1
    assert "has ended instead of being ready" in never[2]
    assert farspawn("launch", "--wait-ready", "true")[0] == 2
    assert farspawn("launch", "--ready-file", "/a", "--ready-port", "1", "true")[0] == 2


def test_ps_and_poll_tell_how_tasks_are(agent: Agent, farspawn: Farspawn) -> None:
    labels = {"batch": new_id("batch")}
    label = f"batch={labels['batch']}"
    alive = launch(agent.stub, ["sleep", "60"], labels=labels).status.task_id
    ended = launch(agent.stub, shell("exit 3"), labels=labels).status.task_id
    until_ended(agent.stub, ended)

    listed = farspawn("ps", "-l", label)[1].splitlines()

    assert listed[0].split() == ["ID", "STATE", "PID", "AGE", "COMMAND"]
    assert [row.split()[0] for row in listed[1:]] == [alive]
    assert farspawn("ps", "-q", "-l", label, "--state", "exited", "--state", "failed")[1].split() == [ended]
    assert farspawn("ps", "-q", "-l", label, "--owner", "nobody")[1] == ""
    assert len(in_json(farspawn("ps", "-a", "-l", label, "--json"))) == 2
    assert "exited 3" in farspawn("poll", ended)[1]
    code, out, err = farspawn("poll", "--json", "--renew", alive, "nope")
    assert (code, json.loads(out)[0]["state"]) == (1, "RUNNING")
    assert json.loads(err)["error"]["reason"] == "TASK_NOT_FOUND"


def test_attempts_and_readiness_are_told(farspawn: Farspawn) -> None:
    script = ["sh", "-c", '[ "$FARSPAWN_ATTEMPT" = 2 ] || exit 1; exec sleep 60']
    options = ("--restart", "always", "--ready-file", "/", "--wait-ready")
    task_id = farspawn("launch", *options, *script)[1].strip()

    until(lambda: "running, ready, attempt 2" in farspawn("poll", task_id)[1])

    (told,) = in_json(farspawn("poll", "--json", task_id))
    assert (told["attempt"], told["ready"]) == (2, True)
    assert [each["outcome"]["exit_code"] for each in told["earlier_attempts"]] == [1]
    assert "attempt 2" in farspawn("ps")[1]


def test_wait_ends_with_the_tasks_code(agent: Agent, farspawn: Farspawn) -> None:
    task_id = launch(agent.stub, shell("exit 3")).status.task_id
    other = launch(agent.stub, ["sleep", "60"]).status.task_id

    assert farspawn("wait", task_id) == (3, f"{task_id}  exited 3\n", "")
    code, out, _ = farspawn("wait", "--json", task_id)
    assert (code, json.loads(out)["outcome"]["exit_code"]) == (3, 3)
    code, _, err = farspawn("wait", "--timeout", "50ms", other)
    assert (code, f"still alive: {other}" in err) == (125, True)


def test_logs_follow_a_task_to_its_end(
    agent: Agent, start: Callable[..., subprocess.Popen[bytes]], farspawn: Farspawn, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    script = f"echo one; echo err >&2; until [ -e {gate} ]; do sleep 0.01; done; echo two"
    task_id = launch(agent.stub, shell(script)).status.task_id
    following = start("logs", "-f", task_id)
    assert following.stdout is not None
    assert following.stdout.readline() == b"one\n"

    gate.touch()

    assert following.communicate(timeout=PATIENCE)[0] == b"two\n"
    assert following.returncode == 0
    assert farspawn("logs", "--stderr", task_id)[1] == "err\n"
    assert in_json(farspawn("logs", "--json", "-n", "1", task_id)) == {"stream": "stdout", "offset": 4, "text": "two\n"}


def test_stop_signal_and_rm_act_on_tasks(agent: Agent, farspawn: Farspawn) -> None:
    trapping = launch(agent.stub, shell("trap 'exit 5' USR1; echo up; while :; do sleep 0.01; done")).status.task_id
    first_lines(agent.stub, trapping, 1)

    assert in_json(farspawn("signal", "--json", trapping, "USR1")) == {"task_id": trapping, "signalled": 1}
    assert until_ended(agent.stub, trapping).outcome.exit_code == 5
    code, _, err = farspawn("signal", trapping, "USR1")
    assert (code, bool(err)) == (1, True)

    stubborn = launch(agent.stub, ["sleep", "60"]).status.task_id
    code, _, err = farspawn("rm", stubborn)
    assert (code, "stop it first" in err or "not ended" in err or stubborn in err) == (1, True)
    assert farspawn("stop", "--wait", "--grace", "0", stubborn)[1].startswith(f"{stubborn}  killed by SIGKILL")
    assert in_json(farspawn("stop", "--json", stubborn))[0]["outcome"]["signal"] == 9
    assert farspawn("rm", stubborn) == (0, f"{stubborn}\n", "")
    assert in_json(farspawn("rm", "--json", trapping)) == {"removed": [trapping]}


def test_watch_tells_what_changes(agent: Agent, start: Callable[..., subprocess.Popen[bytes]]) -> None:
    labels = {"batch": new_id("batch")}
    words = ("watch", "-l", f"batch={labels['batch']}")
    plain, machine = start(*words), start(*words, "--json")
    assert plain.stdout is not None
    assert machine.stdout is not None

    task_id = launch(agent.stub, shell("exit 3"), labels=labels).status.task_id

    until(lambda: f"{task_id}  exited 3" in plain.stdout.readline().decode())  # type: ignore[union-attr]  # asserted above
    events = iter(machine.stdout.readline, b"")
    changed = (event for event in map(json.loads, events) if event["event"] == "changed")
    assert next(event for event in changed if event["status"]["outcome"])["status"]["outcome"]["exit_code"] == 3


def test_site_tells_what_it_is(agent: Agent, farspawn: Farspawn) -> None:
    told = farspawn("site")[1]

    assert agent.address in told
    assert "remembered at most" in told
    assert in_json(farspawn("site", "--json"))["limits"]["max_ended_tasks"] > 0


def test_a_reader_that_leaves_ends_the_command_quietly(
    agent: Agent, start: Callable[..., subprocess.Popen[bytes]]
) -> None:
    task_id = launch(agent.stub, ["yes"]).status.task_id
    first_lines(agent.stub, task_id, 1)
    reading = start("logs", "-f", task_id)
    with subprocess.Popen(["head", "-n", "1"], stdin=reading.stdout, stdout=subprocess.PIPE) as head:
        assert reading.stdout is not None
        reading.stdout.close()
        assert head.communicate(timeout=PATIENCE)[0] == b"y\n"

    assert reading.wait(PATIENCE) == 128 + 13
    assert reading.stderr is not None
    assert reading.stderr.read() == b""


def test_a_terminal_obeys_no_task(agent: Agent, start: Callable[..., subprocess.Popen[bytes]]) -> None:
    task_id = launch(agent.stub, shell(r"printf '\033]0;owned\007\tred\n'")).status.task_id
    until_ended(agent.stub, task_id)
    ours, theirs = pty.openpty()
    with open(ours, "rb", buffering=0) as screen:
        showing = start("logs", task_id, stdout=theirs)
        os.close(theirs)
        assert screen.read(100) == b"\\x1b]0;owned\\x07\tred\r\n"
        assert showing.wait(PATIENCE) == 0
