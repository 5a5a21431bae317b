"""What the command line takes, and what it says, without a site."""

from __future__ import annotations

import errno
import json
import unicodedata
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from farspawn import (
    Cause,
    CleanupOutcome,
    LaunchFailure,
    LaunchPhase,
    LogChunk,
    LogStream,
    OomKill,
    Outcome,
    Resources,
    RestartMode,
    RestartPolicy,
    Survivor,
    TaskSpec,
    TaskState,
    TaskStatus,
    TaskTimes,
)
from farspawn._cli.as_json import log_line, to_json
from farspawn._cli.harmless import OutputCleaner, harmless
from farspawn._cli.parsing import (
    pairs,
    parse_cleanup,
    parse_count,
    parse_restart,
    parse_revision,
    parse_signal,
    parse_since,
    parse_size,
    parse_span,
    parse_state,
)
from farspawn._cli.resources import NAMES, limits_text, parse_limits
from farspawn._cli.secret_values import parse_secrets
from farspawn._cli.words import command_of, exit_code_of, signal_name, size_text, span_exactly, span_text, words_for


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("10s", 10), ("1m30s", 90), ("2h", 7200), ("500ms", 0.5), ("0", 0), ("1.5", 1.5), ("1d", 86400), ("2.5m", 150)],
)
def test_a_span_is_read(text: str, seconds: float) -> None:
    assert parse_span(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "s", "5x", "-1", "1 s", "1e9999", "1m 3s", "٣s", "9" * 400, "nan", "9999999999d"])
def test_what_is_no_span_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no span of time"):
        parse_span(text)


@pytest.mark.parametrize(("seconds", "text"), [(0, "0s"), (119, "119s"), (120, "2m"), (7200, "2h"), (-5, "0s")])
def test_a_span_is_told_in_one_unit(seconds: int, text: str) -> None:
    assert span_text(timedelta(seconds=seconds)) == text


@given(st.timedeltas(timedelta(), timedelta(days=9000)))
def test_a_span_told_exactly_is_read_as_the_same(span: timedelta) -> None:
    whole = span - span % timedelta(milliseconds=1)

    assert parse_span(span_exactly(whole)) == pytest.approx(whole, abs=timedelta(microseconds=1))
    assert span_exactly(timedelta(seconds=5400)) == "1h30m"


@pytest.mark.parametrize(
    ("text", "size"),
    [("4096", 4096), ("64k", 65536), ("512M", 512 << 20), ("1.5g", 3 << 29), ("1Gi", 1 << 30), ("2TiB", 2 << 40)],
)
def test_a_size_is_read(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "0", "-1", "M", "2MB", "1e9", "0.0001", "٣", "1 k", "9" * 5000])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no size"):
        parse_size(text)


@given(st.integers(1, 10**17))
def test_a_size_told_is_read_as_the_same(size: int) -> None:
    assert parse_size(size_text(size)) == size


@pytest.mark.parametrize("text", ["", "0", "-1", "1.5", "x", "²", "9" * 5000])
def test_what_is_no_number_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no number above 0"):
        parse_count(text)


def test_a_revision_is_whole() -> None:
    assert parse_revision("AB" * 32) == "ab" * 32
    with pytest.raises(ValueError, match="all 64 digits"):
        parse_revision("ab" * 6)


def test_limits_are_read_and_told_by_the_same_names() -> None:
    texts = [
        "memory=2G",
        "address-space=4G",
        "cpu-time=1h",
        "open-files=64",
        "processes=9",
        "niceness=5",
        "log-bytes=64k",
    ]

    resources = parse_limits(["memory=1G", *texts])

    assert resources == Resources(
        memory_bytes=2 << 30,
        address_space_bytes=4 << 30,
        cpu_time=timedelta(hours=1),
        open_files=64,
        processes=9,
        niceness=5,
        log_bytes=65536,
    )
    told = limits_text(resources).split(", ")
    assert [each.split()[0] for each in told] == [each.partition("=")[0] for each in texts] == list(NAMES)
    assert limits_text(Resources()) == ""
    assert parse_limits([]) == Resources()


@pytest.mark.parametrize(
    ("text", "said"),
    [("disk=1G", "no limit 'disk'"), ("memory", "NAME=VALUE"), ("memory=x", "memory: 'x'"), ("cpu-time=0", "above 0")],
)
def test_what_is_no_limit_is_refused(text: str, said: str) -> None:
    with pytest.raises(click.BadParameter, match=said):
        parse_limits([text])


def test_a_secret_comes_from_the_environment_or_a_file(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_bytes(b"two\nlines\n\n")

    secrets = parse_secrets(["TOKEN", f"KEY=@{file}"], {"TOKEN": "hunter2"})

    assert secrets == {"TOKEN": "hunter2", "KEY": "two\nlines\n"}
    assert "hunter2" not in repr(secrets)


@pytest.mark.parametrize("text", ["A=hunter2", "A=", "=@/dev/null", "A", "A=@/no/such/file", "A=@/", "A=@{binary}"])
def test_what_is_no_secret_is_refused_and_not_shown(text: str, tmp_path: Path) -> None:
    binary = tmp_path / "binary"
    binary.write_bytes(b"hunter2\xff")

    with pytest.raises(click.BadParameter) as refused:
        parse_secrets([text.format(binary=binary)], {})

    assert "hunter2" not in f"{refused.value}{refused.value.__cause__!r}"


def test_a_command_is_told_as_a_shell_takes_it_and_a_template_by_its_name() -> None:
    assert command_of(TaskSpec(("sh", "-c", "a b"))) == "sh -c 'a b'"
    assert command_of(TaskSpec(template="train", parameters={"b": "x y", "a": "1"})) == "template train a=1 'b=x y'"


@pytest.mark.parametrize(
    ("text", "number"), [("TERM", 15), ("SIGTERM", 15), ("sigusr1", 10), ("9", 9), ("64", 64), ("SYS", 31)]
)
def test_a_signal_is_read_by_its_linux_name_or_number(text: str, number: int) -> None:
    assert parse_signal(text) == number


@pytest.mark.parametrize("text", ["", "0", "65", "-9", "NOPE", "SIG", "²"])
def test_what_is_no_signal_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no signal"):
        parse_signal(text)


def test_a_signal_has_a_name_or_a_number() -> None:
    assert (signal_name(9), signal_name(40)) == ("SIGKILL", "signal 40")


@pytest.mark.parametrize(
    ("text", "policy"),
    [
        ("no", RestartPolicy(RestartMode.NEVER)),
        ("always", RestartPolicy(RestartMode.ALWAYS)),
        ("on-failure", RestartPolicy(RestartMode.ON_FAILURE)),
        ("on-failure:3", RestartPolicy(RestartMode.ON_FAILURE, max_restarts=3)),
    ],
)
def test_a_restart_policy_is_read(text: str, policy: RestartPolicy) -> None:
    assert parse_restart(text) == policy


@pytest.mark.parametrize(
    "text", ["", "yes", "on-failure:", "on-failure:0", "on-failure:-1", "always:3", "on-failure:x"]
)
def test_what_is_no_restart_policy_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no restart policy"):
        parse_restart(text)


def test_a_cleanup_command_is_cut_as_a_shell_does() -> None:
    assert parse_cleanup("rm -r '/tmp/a b'").argv == ("rm", "-r", "/tmp/a b")


@pytest.mark.parametrize("text", ["", " ", "'"])
def test_what_is_no_command_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"at least one word|No closing quotation"):
        parse_cleanup(text)


def test_a_state_is_read_by_its_name() -> None:
    assert (parse_state("running"), parse_state("FAILED")) == (TaskState.RUNNING, TaskState.FAILED)
    with pytest.raises(ValueError, match=r"no state: write pending, .*lost"):
        parse_state("unspecified")


def test_a_pair_may_take_its_value_from_the_environment() -> None:
    assert pairs(["A=1", "B", "C=", "A=x=y"], {"B": "2"}) == {"A": "x=y", "B": "2", "C": ""}


@pytest.mark.parametrize(("text", "environ"), [("A", None), ("=1", {}), ("A", {})])
def test_what_is_no_pair_is_refused(text: str, environ: dict[str, str] | None) -> None:
    with pytest.raises(click.BadParameter):
        pairs([text], environ)


@given(st.text())
def test_nothing_in_a_message_moves_the_cursor(text: str) -> None:
    categories = {unicodedata.category(character) for character in harmless(text)}

    assert categories.isdisjoint({"Cc", "Cs", "Zl", "Zp"})


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred", r"\x1b[31mred"),
        ("a\nb", r"a\nb"),
        ("\u202egpj", r"\u202egpj"),
        ("\x9b1m", r"\x9b1m"),
        ("äöü€😀", "äöü€😀"),
    ],
)
def test_what_a_terminal_would_obey_is_shown(text: str, shown: str) -> None:
    assert harmless(text) == shown


@given(st.text(st.characters(exclude_categories=["Cs"])), st.integers(1, 5))
def test_output_is_cleaned_alike_however_it_is_cut(text: str, size: int) -> None:
    data, whole, pieces = text.encode(), OutputCleaner(), OutputCleaner()

    cut = "".join(pieces.clean(data[at : at + size]) for at in range(0, len(data), size)) + pieces.rest()

    assert cut == whole.clean(data) + whole.rest()


def test_lines_tabs_and_progress_bars_stay_in_output() -> None:
    cleaner = OutputCleaner()

    assert cleaner.clean(b"a\tb\r\n\x1b[2J\xff\xc3") + cleaner.rest() == "a\tb\r\n\\x1b[2J\\xff\\xc3"


def ended(state: TaskState, **facts: object) -> TaskStatus:
    return TaskStatus("a", "u", state, outcome=Outcome(**facts))  # type: ignore[arg-type]  # the tests name them


MISSING = LaunchFailure(errno.ENOENT, "ENOENT", LaunchPhase.PROGRAM, "nope")
FORBIDDEN = LaunchFailure(errno.EACCES, "EACCES", LaunchPhase.PROGRAM, "/etc/passwd")
NO_DIRECTORY = LaunchFailure(errno.ENOENT, "ENOENT", LaunchPhase.WORKING_DIRECTORY, "/nowhere")


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [
        (ended(TaskState.EXITED, exit_code=0, cause=Cause.COMPLETED), 0, "exited 0"),
        (ended(TaskState.EXITED, exit_code=7), 7, "exited 7"),
        (ended(TaskState.EXITED, exit_code=0, cleanup=CleanupOutcome(exit_code=0)), 0, "exited 0"),
        (ended(TaskState.EXITED, exit_code=0, cleanup=CleanupOutcome(exit_code=1)), 0, "exited 0, cleanup exited 1"),
        (
            ended(TaskState.EXITED, exit_code=0, cleanup=CleanupOutcome(signal=9, timed_out=True)),
            0,
            "exited 0, cleanup timed out",
        ),
        (
            ended(TaskState.EXITED, signal=9, oom_kill=OomKill.YES, cause=Cause.MAX_RUNTIME),
            137,
            "killed by SIGKILL, out of memory (max runtime)",
        ),
        (ended(TaskState.EXITED, signal=9, oom_kill=OomKill.LIKELY), 137, "killed by SIGKILL, likely out of memory"),
        (ended(TaskState.EXITED, signal=9, oom_kill=OomKill.NO), 137, "killed by SIGKILL"),
        (ended(TaskState.EXITED, exit_code=1, oom_kill=OomKill.YES), 1, "exited 1, out of memory"),
        (
            ended(TaskState.EXITED, signal=15, cause=Cause.STOP_REQUESTED, stopped_by="eve"),
            143,
            "killed by SIGTERM (stop requested by eve)",
        ),
        (
            ended(TaskState.EXITED, exit_code=1, survivors=(Survivor(7, "dd", "uninterruptible sleep"),)),
            1,
            "exited 1, 1 survive",
        ),
        (ended(TaskState.FAILED, launch_failure=MISSING), 127, "failed: nope: No such file or directory"),
        (ended(TaskState.FAILED, launch_failure=FORBIDDEN), 126, "failed: /etc/passwd: Permission denied"),
        (ended(TaskState.FAILED, launch_failure=NO_DIRECTORY), 125, "failed: /nowhere: No such file or directory"),
        (ended(TaskState.LOST, message="rebooted", cause=Cause.HOST_REBOOTED), 125, "lost: rebooted (host rebooted)"),
    ],
)
def test_an_end_has_an_exit_code_and_words(status: TaskStatus, code: int, words: str) -> None:
    assert (exit_code_of(status), words_for(status)) == (code, words)


def test_a_living_task_has_words() -> None:
    assert words_for(TaskStatus("a", state=TaskState.STOPPING)) == "stopping"
    assert words_for(TaskStatus("a", state=TaskState.UNSPECIFIED)) == "alive"
    assert words_for(TaskStatus("a", state=TaskState.RUNNING, ready=True, attempt=2)) == "running, ready, attempt 2"


def test_json_says_what_is_set_and_null_otherwise() -> None:
    created = datetime(2026, 1, 2, 3, 4, 5, 600_000, tzinfo=UTC)
    status = TaskStatus("a", "u", TaskState.EXITED, 3, 1, 7, TaskTimes(created=created), Outcome(signal=9))

    told = json.loads(json.dumps(to_json(status)))

    assert told["state"] == "EXITED"
    assert told["times"]["created"] == "2026-01-02T03:04:05.600000Z"
    assert (told["outcome"]["exit_code"], told["outcome"]["signal"]) == (None, 9)


@pytest.mark.parametrize(
    ("span", "text"), [(timedelta(), "0s"), (timedelta(seconds=100), "100s"), (timedelta(milliseconds=1500), "1.5s")]
)
def test_spans_in_json_are_those_of_protobuf(span: timedelta, text: str) -> None:
    assert to_json(span) == text


def test_output_in_json_is_text_or_base64() -> None:
    assert log_line(LogStream.STDERR, LogChunk(3, "ä\n".encode())) == {"stream": "stderr", "offset": 3, "text": "ä\n"}
    assert log_line(LogStream.STDOUT, LogChunk(0, b"\xff\n")) == {"stream": "stdout", "offset": 0, "base64": "/wo="}


def test_output_in_json_has_its_attempt_and_time_if_they_are_wanted() -> None:
    line = LogChunk(0, b"a\n", attempt=2, written_at=datetime(2026, 11, 28, 9, 30, tzinfo=UTC))

    told = log_line(LogStream.STDOUT, line, timed=True)

    assert told == {"stream": "stdout", "offset": 0, "attempt": 2, "written_at": "2026-11-28T09:30:00Z", "text": "a\n"}


def test_since_is_a_span_that_ends_now() -> None:
    asked = datetime.now(UTC)

    since = parse_since("1h30m")

    assert timedelta() <= since + timedelta(minutes=90) - asked < timedelta(minutes=1)


@pytest.mark.parametrize("text", ["2026-11-28T08:30:00Z", "2026-11-28T09:30+01:00", "20261128T083000Z"])
def test_since_is_a_time(text: str) -> None:
    assert parse_since(text) == datetime(2026, 11, 28, 8, 30, tzinfo=UTC)


def test_a_time_without_a_zone_is_local() -> None:
    assert parse_since("2026-11-28 08:30") == datetime(2026, 11, 28, 8, 30).astimezone()


@pytest.mark.parametrize("text", ["", "yesterday", "10x", "2026-13-01", "9999999999999h"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no time"):
        parse_since(text)
