"""The command line against a toy site."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.toy_site import Handlers, toy_site, unary

from farspawn._cli import main
from farspawn.v1 import launcher_pb2 as pb
from farspawn.v1 import task_pb2

EVIL = task_pb2.Task(
    status=task_pb2.TaskStatus(task_id="a", uid="u1", state=task_pb2.TASK_STATE_RUNNING, pid=7),
    spec=task_pb2.TaskSpec(argv=["sh", "-c", "\x1b]0;owned\x07"]),
)
EXITED = task_pb2.TaskStatus(
    task_id="b", uid="u2", state=task_pb2.TASK_STATE_EXITED, outcome=task_pb2.Outcome(exit_code=3)
)


class Recorder:
    """A site that remembers what was launched."""

    def __init__(self) -> None:
        self.launched: list[pb.LaunchTaskRequest] = []
        self.methods: Handlers = {
            "LaunchTask": unary(pb.LaunchTaskRequest, lambda request, _: self.launch(request)),
            "ListTasks": unary(pb.ListTasksRequest, lambda *_: pb.ListTasksResponse(tasks=[EVIL])),
            "Poll": unary(pb.PollRequest, lambda request, _: self.poll(request)),
        }

    def launch(self, request: pb.LaunchTaskRequest) -> pb.LaunchTaskResponse:
        self.launched.append(request)
        status = task_pb2.TaskStatus(task_id=request.task_id, state=task_pb2.TASK_STATE_RUNNING)
        return pb.LaunchTaskResponse(task=task_pb2.Task(status=status, spec=request.spec), created=True)

    def poll(self, request: pb.PollRequest) -> pb.PollResponse:
        unknown = [task_id for task_id in request.task_ids if task_id != "b"]
        return pb.PollResponse(statuses=[EXITED], unknown_task_ids=unknown, revision=1)


@pytest.fixture
def recorder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Recorder]:
    """The site that the command line finds."""
    site = Recorder()
    with toy_site(site.methods, tmp_path) as address:
        monkeypatch.setenv("FARSPAWN_SITE", address)
        yield site


def test_what_follows_the_command_is_the_commands(recorder: Recorder, capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["launch", "--id", "x", "-e", "A=1", "python3", "-c", "pass", "--id", "y", "--", "-h"])

    assert (code, capsys.readouterr().out) == (0, "x\n")
    (request,) = recorder.launched
    assert request.task_id == "x"
    assert list(request.spec.argv) == ["python3", "-c", "pass", "--id", "y", "--", "-h"]
    assert dict(request.spec.env) == {"A": "1"}


def test_spans_reach_the_site_as_spans(recorder: Recorder) -> None:
    main(["launch", "--max-runtime", "1m30s", "--grace", "0", "-l", "round=3", "x"])

    spec = recorder.launched[0].spec
    assert (spec.max_runtime.seconds, dict(spec.labels)) == (90, {"round": "3"})
    assert spec.stop.HasField("grace")
    assert spec.stop.grace.seconds == 0


def test_what_becomes_of_a_task_later_reaches_the_site(recorder: Recorder) -> None:
    later = ("--restart", "on-failure:2", "--cleanup", "rm -r 'a b'", "--ready-port", "80", "--lease", "5s")

    assert main(["launch", *later, "x"]) == 0

    spec = recorder.launched[0].spec
    assert (spec.restart.mode, spec.restart.max_restarts) == (task_pb2.RESTART_MODE_ON_FAILURE, 2)
    assert list(spec.cleanup.argv) == ["rm", "-r", "a b"]
    assert (spec.readiness.tcp_port, spec.lease.ttl.seconds, spec.open_input) == (80, 5, False)


def test_a_template_and_its_values_reach_the_site(recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", "hunter2")
    revision = "ab" * 32

    code = main(
        ["launch", "--template", "train", "--param", "epochs=3", "--template-revision", revision, "--secret", "TOKEN"]
    )

    assert code == 0
    (request,) = recorder.launched
    assert (list(request.spec.argv), request.spec.template) == ([], "train")
    assert (dict(request.spec.parameters), request.spec.template_revision) == ({"epochs": "3"}, revision)
    assert (dict(request.secrets), dict(request.spec.env)) == ({"TOKEN": "hunter2"}, {})


def test_limits_reach_the_site(recorder: Recorder) -> None:
    assert main(["launch", "--limit", "memory=2G", "--limit", "cpu-time=90s", "x"]) == 0

    resources = recorder.launched[0].spec.resources
    assert (resources.memory_bytes, resources.cpu_time.seconds, resources.open_files) == (2 << 30, 90, 0)


def test_a_secret_on_the_command_line_is_refused_with_the_reason(
    recorder: Recorder, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["launch", "--secret", "TOKEN=hunter2", "x"]) == 2

    told = capsys.readouterr()
    assert "ps" in told.err
    assert "hunter2" not in told.out + told.err
    assert not recorder.launched


def test_what_is_not_said_is_not_set(recorder: Recorder) -> None:
    main(["launch", "x"])

    spec = recorder.launched[0].spec
    assert [field.name for field, _ in spec.ListFields()] == ["argv"]


@pytest.mark.usefixtures("recorder")
def test_a_tasks_words_do_not_reach_the_terminal_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    main(["ps"])

    told = capsys.readouterr().out
    assert "\x1b" not in told
    assert r"\x1b]0;owned\x07" in told


@pytest.mark.usefixtures("recorder")
def test_ps_in_json_is_one_document(capsys: pytest.CaptureFixture[str]) -> None:
    main(["ps", "--json"])

    (task,) = json.loads(capsys.readouterr().out)
    assert (task["status"]["state"], task["spec"]["argv"][2]) == ("RUNNING", "\x1b]0;owned\x07")


@pytest.mark.usefixtures("recorder")
def test_waiting_for_one_task_ends_with_its_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["wait", "b"]) == 3
    assert capsys.readouterr().out == "b  exited 3\n"


@pytest.mark.usefixtures("recorder")
def test_waiting_for_no_task_ends_with_a_code_that_is_no_tasks(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["wait", "nope"]) == 125
    assert capsys.readouterr().err == "farspawn: no task nope - `farspawn ps -a` lists the tasks\n"


@pytest.mark.usefixtures("recorder")
def test_what_the_site_does_not_know_is_an_error_and_the_rest_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["poll", "b", "nope", "--json"]) == 1

    told = capsys.readouterr()
    assert [status["task_id"] for status in json.loads(told.out)] == ["b"]
    assert json.loads(told.err)["error"]["reason"] == "TASK_NOT_FOUND"


@pytest.mark.parametrize("arguments", [["ps", "--site", "example.org:1"], ["--site", "example.org:1", "ps"]])
def test_an_error_is_one_line_that_says_what_to_do(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 1

    told = capsys.readouterr().err
    assert told.startswith("farspawn: example.org:1 is not on this machine: ")
    assert told.count("\n") == 1


def test_an_error_is_json_if_the_answer_would_have_been(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ps", "--json", "--site", "nope"]) == 1
    assert json.loads(capsys.readouterr().err)["error"]["type"] == "AddressError"


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["run", "--bogus", "x"], 125),
        (["run"], 125),
        (["launch"], 2),
        (["run", "--template", "train", "sh"], 125),
        (["launch", "--param", "a=1", "x"], 2),
        (["launch", "--template", "t", "--template-revision", "abc"], 2),
        (["launch", "--limit", "memory=2MB", "x"], 2),
        (["launch", "--max-runtime", "5x", "y"], 2),
        (["signal", "a", "NOPE"], 2),
        (["nope"], 2),
        (["logs", "--tail", "1", "--offset", "1", "a"], 2),
    ],
)
def test_a_wrong_command_line_has_a_code_of_its_own(arguments: list[str], code: int) -> None:
    assert main(arguments) == code


def test_the_version_and_the_help_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("farspawn ")
    for command in (
        "run",
        "launch",
        "ps",
        "poll",
        "wait",
        "logs",
        "stop",
        "signal",
        "watch",
        "rm",
        "site",
        "templates",
    ):
        assert main([command, "--help"]) == 0
        assert "--json" in capsys.readouterr().out
