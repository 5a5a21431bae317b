"""No site, no task and no other caller makes a terminal do anything: `farspawn` shows what it would obey."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path

import grpc
import pytest
from support.agent import plain_environment
from support.toy_site import Handlers, stream, toy_site, unary
from support.waiting import PATIENCE

from farspawn.v1 import launcher_pb2 as pb
from farspawn.v1 import site_pb2, task_pb2

# A title, a bell, the C1 form of "clear", DEL, and a mark that turns the text around.
EVIL = "\x1b]0;owned\x07 \x9b2J \x7f \u202ecod.exe"
ENDED = task_pb2.TaskStatus(
    task_id=EVIL,
    uid="u1",
    state=task_pb2.TASK_STATE_LOST,
    revision=1,
    outcome=task_pb2.Outcome(cause=task_pb2.CAUSE_STOP_REQUESTED, stopped_by=EVIL, message=EVIL),
)
SPEC = task_pb2.TaskSpec(argv=["sh", EVIL], labels={EVIL: EVIL}, template="", working_directory=EVIL)
TEMPLATE = site_pb2.Template(
    name=EVIL,
    revision=EVIL,
    description=EVIL,
    parameters=[site_pb2.Template.Parameter(name=EVIL, choices=[EVIL], default_value=EVIL)],
)


def launched(request: pb.LaunchTaskRequest, _: grpc.ServicerContext) -> pb.LaunchTaskResponse:
    status = task_pb2.TaskStatus(task_id=request.task_id, uid="u1", state=task_pb2.TASK_STATE_RUNNING, attempt=1)
    return pb.LaunchTaskResponse(task=task_pb2.Task(status=status, spec=request.spec), created=True)


def polled(request: pb.PollRequest, _: grpc.ServicerContext) -> pb.PollResponse:
    status = task_pb2.TaskStatus()
    status.CopyFrom(ENDED)
    status.task_id = request.task_ids[0]
    return pb.PollResponse(statuses=[status], revision=1)


def logged(request: pb.ReadLogsRequest, _: grpc.ServicerContext) -> Iterator[pb.ReadLogsResponse]:
    data = f"{EVIL} {request.stream}\n".encode() + b"half: \xc3"
    yield pb.ReadLogsResponse(header=pb.ReadLogsResponse.Header(attempt=1))
    for at in range(0, len(data), 7):
        yield pb.ReadLogsResponse(chunk=pb.ReadLogsResponse.Chunk(offset=at, data=data[at : at + 7]))
    yield pb.ReadLogsResponse(end=pb.ReadLogsResponse.End(offset=len(data), complete=True))


def watched(_: pb.WatchTasksRequest, context: grpc.ServicerContext) -> Iterator[pb.WatchTasksResponse]:
    yield pb.WatchTasksResponse(changed=ENDED)
    yield pb.WatchTasksResponse(deleted_uid=EVIL)
    context.abort(grpc.StatusCode.PERMISSION_DENIED, EVIL)


def refused(_: object, context: grpc.ServicerContext) -> pb.DeleteTaskResponse:
    context.abort(grpc.StatusCode.PERMISSION_DENIED, EVIL)


METHODS: Handlers = {
    "LaunchTask": unary(pb.LaunchTaskRequest, launched),
    "StopTask": unary(pb.StopTaskRequest, lambda *_: pb.StopTaskResponse(status=ENDED)),
    "Poll": unary(pb.PollRequest, polled),
    "WatchTasks": stream(pb.WatchTasksRequest, watched),
    "ListTasks": unary(
        pb.ListTasksRequest,
        lambda *_: pb.ListTasksResponse(tasks=[task_pb2.Task(status=ENDED, spec=SPEC, owner=EVIL)]),
    ),
    "ReadLogs": stream(pb.ReadLogsRequest, logged),
    "SignalTask": unary(pb.SignalTaskRequest, refused),
    "DeleteTask": unary(pb.DeleteTaskRequest, refused),
    "GetSite": unary(
        pb.GetSiteRequest,
        lambda *_: pb.GetSiteResponse(
            site=site_pb2.Site(name=EVIL, version=EVIL, boot_id=EVIL, templates=[TEMPLATE, TEMPLATE])
        ),
    ),
}


@pytest.fixture(scope="module")
def evil_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with toy_site(METHODS, tmp_path_factory.mktemp("evil")) as address:
        yield address


def command(address: str, words: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    # A terminal without colours, so that no escape at all is to be seen.
    environment = {**plain_environment(), "FARSPAWN_SITE": address, "TERM": "dumb", "COLUMNS": "500"}
    return [sys.executable, "-P", "-m", "farspawn", *words], environment


def on_a_terminal(address: str, *words: str) -> bytes:
    """Return all that a command has sent to its terminal."""
    argv, environment = command(address, words)
    ours, theirs = pty.openpty()
    with subprocess.Popen(argv, env=environment, stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        sent = b"".join(iter(lambda: _read(ours), b""))
        os.close(ours)
        process.wait(PATIENCE)
    return sent


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 1 << 16)
    except OSError:
        return b""  # nobody has the other end any more


@pytest.mark.parametrize(
    "words",
    [
        ["ps", "-a"],
        ["ps", "-q"],
        ["ps", "--json"],
        ["poll", "a"],
        ["poll", EVIL],
        ["wait", "a"],
        ["watch"],
        ["watch", "--json"],
        ["logs", "a"],
        ["logs", "--stderr", "--follow", "a"],
        ["logs", "--json", "a"],
        ["run", "true"],
        ["run", "--json", "true"],
        ["stop", "a"],
        ["rm", "a"],
        ["signal", "a", "TERM"],
        ["site"],
        ["site", "--json"],
        ["templates"],
        ["templates", "--json"],
        ["launch", f"--{EVIL}", "true"],
    ],
    ids=lambda words: " ".join(words).replace(EVIL, "EVIL"),
)
def test_a_terminal_obeys_nobody_but_its_user(evil_site: str, words: list[str]) -> None:
    sent = on_a_terminal(evil_site, *words).decode()

    assert "owned" in sent
    assert {unicodedata.category(each) for each in sent if each not in "\n\r\t"}.isdisjoint({"Cc", "Cf", "Cs"}), sent


@pytest.mark.parametrize("words", [["logs"], ["run"]], ids=" ".join)
def test_half_a_character_at_the_end_is_shown(evil_site: str, words: list[str]) -> None:
    # Of `run` both outputs are shown, and their pieces in any order.
    assert r"\xc3" in on_a_terminal(evil_site, *words, "true").decode()


@pytest.mark.parametrize("words", [["logs", "--raw"], ["run", "--raw"]], ids=" ".join)
def test_a_terminal_gets_every_byte_if_its_user_wants_so(evil_site: str, words: list[str]) -> None:
    assert b"\x1b]0;own" in on_a_terminal(evil_site, *words, "true")  # the first chunk: two outputs may mingle


@pytest.mark.parametrize("words", [["logs"], ["run"]], ids=" ".join)
def test_a_pipe_gets_every_byte(evil_site: str, words: list[str], tmp_path: Path) -> None:
    argv, environment = command(evil_site, [*words, "true"])
    with (tmp_path / "errors").open("wb") as errors:
        done = subprocess.run(
            argv, env=environment, stdout=subprocess.PIPE, stderr=errors, timeout=PATIENCE, check=False
        )

    assert done.stdout == f"{EVIL} 1\n".encode() + b"half: \xc3"
