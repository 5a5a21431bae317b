"""What is on record: a line for each call that changes something and for each denial, and nothing that is secret."""

from __future__ import annotations

import hashlib
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from support.agent import AT_ONCE, Agent, short_directory, until_ended
from support.audit import audit_files, audit_lines
from support.command import farspawnd_says
from support.raw import METHODS
from support.refused import refused
from support.tasks import launch, new_id, shell, stop
from support.waiting import until

from farspawn.v1 import launcher_pb2 as pb
from farspawn.v1 import task_pb2
from farspawn_server.audit.verify import verify
from farspawn_server.rpc.denials import READS

CHANGES = {"LaunchTask", "StopTask", "SignalTask", "DeleteTask", "WriteInput"}


def folder(agent: Agent) -> Path:
    return agent.state / "audit"


class Record:
    """What is put on record from now on."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._marker()
        self._seen = self._marker()

    def lines(self) -> list[dict[str, Any]]:
        """Return the lines since the last look."""
        until_seq = self._marker()
        lines = [line for line in audit_lines(folder(self._agent)) if self._seen < line["seq"] < until_seq]
        self._seen = until_seq
        return lines

    def _marker(self) -> int:
        """Put a line on record that is known, and wait for it: all before it are there then. Return its seq."""
        task_id = new_id("marker")
        refused(lambda: stop(self._agent.stub, task_id))

        def seq() -> int:
            found = audit_lines(folder(self._agent))
            return next((line["seq"] for line in found if line.get("task_id") == task_id), 0)

        return until(seq)


def what(lines: list[dict[str, Any]]) -> list[tuple[str, str, str]]:
    return [(line["rpc"], line.get("task_id", ""), line["outcome"]) for line in lines]


def test_every_method_either_reads_or_goes_on_record() -> None:
    assert set(METHODS) - READS == CHANGES


def test_each_call_that_changes_something_has_exactly_its_line(agent: Agent) -> None:
    record, task_id = Record(agent), new_id()
    spec = task_pb2.TaskSpec(argv=["sleep", "600"], open_input=True)
    request = pb.LaunchTaskRequest(task_id=task_id, spec=spec)

    task = agent.stub.LaunchTask(request).task
    agent.stub.LaunchTask(request)
    list(
        agent.stub.WriteInput(iter([pb.WriteInputRequest(task_id=task_id, data=b"a"), pb.WriteInputRequest(offset=1)]))
    )
    agent.stub.SignalTask(pb.SignalTaskRequest(task_id=task_id, signal=signal.SIGWINCH))
    agent.stub.Poll(pb.PollRequest(task_ids=[task_id]))
    stop(agent.stub, task.status.uid, AT_ONCE)
    until_ended(agent.stub, task_id)
    stop(agent.stub, task_id)
    agent.stub.DeleteTask(pb.DeleteTaskRequest(task_id=task_id))
    lines = record.lines()

    assert what(lines) == [
        ("LaunchTask", task_id, "accepted"),
        ("LaunchTask", task_id, "existing"),
        ("WriteInput", task_id, "accepted"),
        ("SignalTask", task_id, "accepted"),
        ("StopTask", task_id, "accepted"),
        ("StopTask", task_id, "accepted"),
        ("DeleteTask", task_id, "accepted"),
    ]
    assert {(line["uid"], line["identity"], line["peer"]) for line in lines} == {(task.status.uid, "local", "unix:")}
    assert lines[0]["program"] == "sleep"
    assert lines[0]["argv_sha256"] == hashlib.sha256(b"sleep\x00600\0").hexdigest()
    assert verify(folder(agent)).lost == 0


def test_each_refused_call_has_a_line_with_the_reason(agent: Agent) -> None:
    record, task_id = Record(agent), new_id()
    launch(agent.stub, ["sleep", "600"], task_id=task_id)

    refused(lambda: launch(agent.stub, ["sleep", "601"], task_id=task_id))
    refused(lambda: launch(agent.stub, [], task_id="no/id"))
    refused(lambda: agent.stub.DeleteTask(pb.DeleteTaskRequest(task_id=task_id)))
    refused(lambda: agent.stub.SignalTask(pb.SignalTaskRequest(task_id=task_id, signal=99)))
    refused(lambda: list(agent.stub.WriteInput(iter([pb.WriteInputRequest(task_id=task_id)]))))
    refused(lambda: agent.stub.DeleteTask(pb.DeleteTaskRequest(task_id="nobody")))
    refused(lambda: agent.stub.Poll(pb.PollRequest()))

    assert what(record.lines()) == [
        ("LaunchTask", task_id, "accepted"),
        ("LaunchTask", task_id, "TASK_ID_REUSED"),
        ("LaunchTask", "no/id", "SPEC_INVALID"),
        ("DeleteTask", task_id, "TASK_NOT_ENDED"),
        ("SignalTask", task_id, "SPEC_INVALID"),
        ("WriteInput", task_id, "INPUT_CLOSED"),
        ("DeleteTask", "nobody", "TASK_NOT_FOUND"),
    ]


def test_what_a_caller_writes_cannot_begin_a_line_or_move_a_cursor(agent: Agent) -> None:
    record = Record(agent)
    nasty = '\n{"seq":1}\r\x1b[2J\x1b]0;owned\x07\x9b31m\u202e\x7f'

    refused(lambda: launch(agent.stub, [nasty, "x"], task_id=nasty))
    refused(lambda: launch(agent.stub, ["true"], env={f"A={nasty}": nasty}, labels={nasty: nasty}))
    refused(lambda: stop(agent.stub, nasty))
    lines = record.lines()
    said = farspawnd_says("--state", str(agent.state), "audit", "show")

    assert [line.get("task_id") for line in (lines[0], lines[2])] == [nasty, nasty]
    assert lines[0]["program"] == nasty
    raw = b"".join(path.read_bytes() for path in audit_files(folder(agent)))
    assert all(byte == 0x0A or 0x20 <= byte < 0x7F for byte in raw)
    assert said.code == 0
    assert all(each.isprintable() for each in said.stdout.split("\n"))
    assert r"\x1b[2J" in said.stdout
    assert verify(folder(agent))


def test_no_argument_variable_label_secret_or_input_is_on_record(agent: Agent) -> None:
    marker = f"marker-{os.getpid()}-do-not-tell"
    record, task_id = Record(agent), new_id()
    spec = task_pb2.TaskSpec(
        argv=["/bin/sh", "-c", f"cat; : {marker}"],
        env={"TOKEN": marker, f"N{marker.replace('-', '_')}": "1"},
        labels={"note": marker},
        open_input=True,
        working_directory="/",
    )
    bad = task_pb2.TaskSpec(argv=["/bin/sh", marker], env={"TOKEN": marker, "FARSPAWN_X": marker})

    agent.stub.LaunchTask(pb.LaunchTaskRequest(task_id=task_id, spec=spec, secrets={"PASSWORD": marker}))
    parts = [pb.WriteInputRequest(task_id=task_id, data=marker.encode(), end_of_input=True)]
    list(agent.stub.WriteInput(iter(parts)))
    until_ended(agent.stub, task_id)
    refused(lambda: agent.stub.LaunchTask(pb.LaunchTaskRequest(spec=bad, secrets={"PASSWORD": marker})))
    lines = record.lines()

    assert len(lines) == 3
    raw = b"".join(path.read_bytes() for path in audit_files(folder(agent)))
    assert marker.encode() not in raw
    assert b"marker_" not in raw


def test_a_restarted_server_goes_on_in_the_same_chain(own_agent: Agent) -> None:
    for _ in range(3):
        launch(own_agent.stub, ["true"])
        own_agent.kill_server()
    launch(own_agent.stub, ["true"])

    assert verify(folder(own_agent)).lines == 4


@pytest.fixture
def rotating() -> Iterator[Agent]:
    """An agent whose files are as small as they may be, of which it keeps three."""
    with short_directory() as directory:
        (directory / "site.toml").write_text("[audit]\nmax_file_bytes = 65536\nmax_files = 3\n")
        with Agent(directory, "--config", str(directory / "site.toml")) as agent:
            yield agent
            agent.check_log()


def test_files_are_rotated_under_load_and_the_oldest_removed(rotating: Agent) -> None:
    def refuse(_: int) -> None:
        refused(lambda: stop(rotating.stub, new_id("x" * 100)))

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(refuse, range(1000)))
        launches = list(threads.map(lambda _: launch(rotating.stub, ["true"]).status.uid, range(20)))
        list(threads.map(refuse, range(100)))
    Record(rotating).lines()  # all before is in the files then

    found = verify(folder(rotating))
    assert len(audit_files(folder(rotating))) == 3
    assert found.first_seq > 1
    assert found.lost == 0
    assert {line["uid"] for line in audit_lines(folder(rotating)) if line["outcome"] == "accepted"} == set(launches)


def test_verify_says_how_much_and_the_last_hash_while_the_agent_runs(own_agent: Agent) -> None:
    launch(own_agent.stub, shell("exit 0"))
    state = ("--state", str(own_agent.state))
    said = farspawnd_says(*state, "audit", "verify")
    noted = said.stdout.split()[-1]
    launch(own_agent.stub, shell("exit 0"))
    expected = farspawnd_says("audit", "verify", *state, "--expect", noted)
    copied = farspawnd_says("audit", "verify", str(folder(own_agent)))
    missed = farspawnd_says(*state, "audit", "verify", "--expect", "ab" * 32)
    (file,) = audit_files(folder(own_agent))
    file.write_bytes(file.read_bytes().replace(b"/bin/sh", b"/bin/zh", 1))
    broken = farspawnd_says(*state, "audit", "verify")

    assert (said.code, said.stdout.split()[:2]) == (0, ["1", "lines,"])
    assert noted == audit_lines(folder(own_agent))[0]["hash"]
    assert (expected.code, copied.code) == (0, 0)
    assert (missed.code, "is not in the chain" in missed.stderr) == (1, True)
    assert (broken.code, "audit-000001.jsonl:1: it was changed" in broken.stderr) == (1, True)


def test_calls_that_were_cancelled_leave_one_launch_on_record(agent: Agent) -> None:
    record, task_id = Record(agent), new_id()
    request = pb.LaunchTaskRequest(task_id=task_id, spec=task_pb2.TaskSpec(argv=["true"]))

    for _ in range(20):
        call = agent.stub.LaunchTask.future(request)
        call.cancel()
    with pytest.raises(grpc.FutureCancelledError):
        call.result()
    agent.stub.LaunchTask(request)

    assert [line["outcome"] for line in record.lines()].count("accepted") == 1
