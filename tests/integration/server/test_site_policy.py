"""The site's owner decides: settings in a file, and what they let real tasks do."""

from __future__ import annotations

import contextlib
import math
import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path

import grpc
import pytest
from support.agent import AT_ONCE, until_ended
from support.command import farspawnd_says
from support.policed import PolicedSite, policed
from support.refused import refused
from support.tasks import launch, new_id, output, python, shell, span, status_of, stop
from support.waiting import PATIENCE, until

from farspawn.v1 import launcher_pb2 as pb
from farspawn.v1 import site_pb2, task_pb2

TEMPLATES = """
[policy]
allow = "templates"

[templates.add]
description = "Adds two numbers."
argv = ["/bin/sh", "-c", "echo $(($1 + $2))", "add", "{a}", "{b}"]

[templates.add.parameters.a]
minimum = -9
maximum = 9

[templates.add.parameters.b]
pattern = "[0-9]{1,3}"
default = "100"

[templates.say]
argv = ["/bin/sh", "-c", "printf '%s|' \\"$WORD\\" \\"$TOKEN\\" \\"$PWD\\"; ulimit -n"]
env = { WORD = "{word}" }
environment = ["TOKEN"]
working_directory = "/usr"

[templates.say.limits]
open_files = 77

[templates.say.parameters.word]
choices = ["hello", "good bye"]

[templates.sleep]
argv = ["/bin/sleep", "600"]

[templates.sleep.stop]
grace_seconds = 0
"""


@pytest.fixture(scope="module")
def _site() -> Iterator[PolicedSite]:
    with policed(TEMPLATES) as site:
        yield site


@pytest.fixture
def site(_site: PolicedSite) -> Iterator[PolicedSite]:
    yield _site
    _site.clear()


def asked(
    template: str, parameters: Mapping[str, str] = {}, secrets: Mapping[str, str] = {}, revision: str = ""
) -> pb.LaunchTaskRequest:
    spec = task_pb2.TaskSpec(template=template, parameters=parameters, template_revision=revision)
    return pb.LaunchTaskRequest(task_id=new_id(), spec=spec, secrets=secrets)


def said_by(site: PolicedSite, request: pb.LaunchTaskRequest) -> bytes:
    site.stub.LaunchTask(request)
    until_ended(site.stub, request.task_id)
    return output(site.stub, request.task_id)


def test_a_template_runs_with_what_the_caller_gives(site: PolicedSite) -> None:
    assert said_by(site, asked("add", {"a": "-3", "b": "7"})) == b"4\n"
    assert said_by(site, asked("add", {"a": "5"})) == b"105\n"


def test_its_environment_directory_and_limits_are_the_templates(site: PolicedSite) -> None:
    assert said_by(site, asked("say", {"word": "good bye"})) == b"good bye||/usr|77\n"


def test_nothing_else_runs(site: PolicedSite) -> None:
    refusal = refused(lambda: launch(site.stub, ["true"]))

    assert (refusal.code, refusal.reason) == (grpc.StatusCode.PERMISSION_DENIED, "POLICY_DENIED")
    assert refusal.metadata["rule"] == "policy.allow"


@pytest.mark.parametrize("name", ["nothing", "../add", "ADD", "add\n", "\x1b[2J", "a" * 64])
def test_a_template_that_is_not_there_is_refused(site: PolicedSite, name: str) -> None:
    refusal = refused(lambda: site.stub.LaunchTask(asked(name)))

    assert (refusal.reason, refusal.metadata["rule"]) == ("POLICY_DENIED", "templates")


def test_a_bad_value_is_named(site: PolicedSite) -> None:
    refusal = refused(lambda: site.stub.LaunchTask(asked("add", {"a": "10", "c": "1"})))

    assert refusal.reason == "SPEC_INVALID"
    assert set(refusal.violations) == {"spec.parameters['a']", "spec.parameters['c']"}


def test_a_command_beside_a_template_is_refused(site: PolicedSite) -> None:
    request = asked("add", {"a": "1"})
    request.spec.argv.append("/bin/sh")

    assert set(refused(lambda: site.stub.LaunchTask(request)).violations) == {"spec.argv"}


def test_the_site_tells_its_templates_and_a_caller_can_insist_on_what_it_saw(site: PolicedSite) -> None:
    described = site.stub.GetSite(pb.GetSiteRequest()).site

    assert described.admission == site_pb2.ADMISSION_TEMPLATES
    assert [each.name for each in described.templates] == ["add", "say", "sleep"]
    add = described.templates[0]
    assert add.description == "Adds two numbers."
    assert [each.name for each in add.parameters] == ["a", "b"]
    assert (add.parameters[0].integers.minimum, add.parameters[0].integers.maximum) == (-9, 9)
    assert add.parameters[1].default_value == "100"
    task = site.stub.LaunchTask(asked("add", {"a": "1"}, revision=add.revision)).task
    assert task.template_revision == add.revision
    refusal = refused(lambda: site.stub.LaunchTask(asked("add", {"a": "1"}, revision="0" * 64)))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "TEMPLATE_CHANGED")
    assert refusal.metadata == {"template": "add", "revision": add.revision}


def test_a_task_is_told_as_it_was_asked_for(site: PolicedSite) -> None:
    request = asked("add", {"a": "1"})
    site.stub.LaunchTask(request)
    (task,) = [
        each for each in site.stub.ListTasks(pb.ListTasksRequest()).tasks if each.status.task_id == request.task_id
    ]

    assert (task.spec.template, dict(task.spec.parameters), list(task.spec.argv)) == ("add", {"a": "1"}, [])


def test_a_repeated_launch_is_the_same_task(site: PolicedSite) -> None:
    request = asked("add", {"a": "1"})

    assert [site.stub.LaunchTask(request).created for _ in range(3)] == [True, False, False]
    request.spec.parameters["a"] = "2"
    assert refused(lambda: site.stub.LaunchTask(request)).reason == "TASK_ID_REUSED"


def test_a_templates_stop_plan_is_the_tasks(site: PolicedSite) -> None:
    request = asked("sleep")
    site.stub.LaunchTask(request)
    stop(site.stub, request.task_id)

    assert until_ended(site.stub, request.task_id).outcome.signal == 9


def test_a_secret_reaches_the_task_and_nobody_else(site: PolicedSite) -> None:
    secret = "correct-horse-battery-staple"
    request = asked("say", {"word": "hello"}, secrets={"TOKEN": secret})
    answer = site.stub.LaunchTask(request)
    status = until_ended(site.stub, request.task_id)
    told = [
        answer,
        status,
        site.stub.ListTasks(pb.ListTasksRequest()),
        site.stub.GetSite(pb.GetSiteRequest()),
    ]

    assert output(site.stub, request.task_id).split(b"|")[1].decode() == secret
    assert all(secret not in str(each) for each in told)
    assert secret not in site.log


def test_a_secret_is_forgotten_when_the_task_has_ended(site: PolicedSite) -> None:
    secret = "never-to-be-found-again"
    request = asked("say", {"word": "hello"}, secrets={"TOKEN": secret})
    site.stub.LaunchTask(request)
    until_ended(site.stub, request.task_id)

    with sqlite3.connect(f"file:{site.state}/farspawn.db?mode=ro", uri=True) as database:
        rows = database.execute("SELECT * FROM task").fetchall()

    assert rows
    assert secret not in str(rows)


def test_a_secret_outlives_the_server_as_long_as_its_task() -> None:
    template = """
[templates.again]
argv = ["/bin/sh", "-c", "echo $TOKEN; [ $FARSPAWN_ATTEMPT = 2 ]"]
environment = ["TOKEN"]
"""
    with policed(template) as site:
        restart = task_pb2.RestartPolicy(mode=task_pb2.RESTART_MODE_ON_FAILURE, initial_backoff=span(1))
        spec = task_pb2.TaskSpec(template="again", restart=restart)
        task = site.stub.LaunchTask(pb.LaunchTaskRequest(spec=spec, secrets={"TOKEN": "kept"})).task
        until(lambda: status_of(site.stub, task.status.task_id).state == task_pb2.TASK_STATE_PENDING)
        site.kill_server()
        until_ended(site.stub, task.status.task_id)

        assert output(site.stub, task.status.task_id) == b"kept\n"


@pytest.mark.parametrize(("key", "value"), [("", "x"), ("A=B", "x"), ("FARSPAWN_X", "x"), ("A", "x\0y")])
def test_a_bad_secret_is_refused_without_saying_it(site: PolicedSite, key: str, value: str) -> None:
    refusal = refused(lambda: site.stub.LaunchTask(asked("say", {"word": "hello"}, secrets={key: value})))

    assert refusal.reason == "SPEC_INVALID"
    assert all(each.startswith("secrets[") for each in refusal.violations)


def test_a_template_that_changes_meanwhile_changes_no_task_that_was_launched() -> None:
    settings = '[templates.t]\nargv = ["/bin/sh", "-c", "echo {word}; [ $FARSPAWN_ATTEMPT = 2 ]"]\n'
    with policed(settings.format(word="old")) as site:
        restart = task_pb2.RestartPolicy(mode=task_pb2.RESTART_MODE_ON_FAILURE, initial_backoff=span(1))
        spec = task_pb2.TaskSpec(template="t", restart=restart)
        task = site.stub.LaunchTask(pb.LaunchTaskRequest(spec=spec)).task
        before = site.stub.GetSite(pb.GetSiteRequest()).site.templates[0].revision
        until(lambda: status_of(site.stub, task.status.task_id).state == task_pb2.TASK_STATE_PENDING)
        site.config.write_text(settings.format(word="new"))
        os.kill(site.keeper_pid, 1)
        until(lambda: site.stub.GetSite(pb.GetSiteRequest()).site.templates[0].revision != before)
        until_ended(site.stub, task.status.task_id)

        assert output(site.stub, task.status.task_id) == b"old\n"
        newer = site.stub.LaunchTask(pb.LaunchTaskRequest(spec=spec)).task
        assert output(site.stub, newer.status.task_id).startswith(b"new")
        site.stub.StopTask(pb.StopTaskRequest(task_id=newer.status.task_id, plan=AT_ONCE))


PROGRAMS = """
[policy]
allow = "programs"
programs = ["/bin/sh", "DIRECTORY/link"]
directories = ["DIRECTORY/work"]

[limits]
max_live_tasks_per_owner = 3

[ceilings]
max_runtime_seconds = 600
open_files = 99
log_bytes = 65536
"""


def test_programs_of_the_list_run_within_the_sites_directories() -> None:
    with policed(PROGRAMS) as site:
        (site.directory / "work").mkdir()
        (site.directory / "work" / "out").symlink_to("/")
        (site.directory / "link").symlink_to("/bin/pwd")
        task = launch(site.stub, ["/bin/sh", "-c", "pwd; ulimit -n"]).status

        assert output(site.stub, task.task_id).decode() == f"{site.directory}/work\n99\n"
        task = launch(site.stub, [f"{site.directory}/link"]).status
        assert output(site.stub, task.task_id).decode() == f"{site.directory}/work\n"
        for words in (["sh"], ["/usr/bin/env"], ["/bin/pwd"]):
            assert _rule_against(site, task_pb2.TaskSpec(argv=words)) == "policy.programs"
        assert refused(lambda: launch(site.stub, ["/bin/sh"], cwd="/etc")).metadata["rule"] == "policy.directories"
        escaped = launch(site.stub, ["/bin/sh"], cwd=f"{site.directory}/work/out/etc").status
        failure = until_ended(site.stub, escaped.task_id).outcome.launch_failure
        assert (failure.error_name, failure.phase) == ("EACCES", task_pb2.LAUNCH_PHASE_WORKING_DIRECTORY)


def test_an_owner_has_only_so_many_live_tasks() -> None:
    with policed("[limits]\nmax_live_tasks_per_owner = 2\n") as site:
        first = launch(site.stub, ["sleep", "600"]).status.task_id
        launch(site.stub, ["sleep", "600"])
        refusal = refused(lambda: launch(site.stub, ["true"]))

        assert (refusal.reason, refusal.metadata["limit"]) == ("LIMIT_REACHED", "max_live_tasks_per_owner")
        assert refusal.retry_after is not None
        stop(site.stub, first, AT_ONCE)
        until_ended(site.stub, first)
        assert launch(site.stub, ["true"])


def test_an_owner_launches_only_so_fast() -> None:
    with policed("[limits]\nmax_launches_per_second = 3\n") as site:
        refusals = [each for _ in range(30) if (each := _try(site)) is not None]

        assert refusals
        assert {each.details() for each in refusals} == {"the site's limit max_launches_per_second = 3 is reached"}
        until(lambda: _try(site) is None)  # and it may again


def _try(site: PolicedSite, argv: Sequence[str] = ("true",), env: Mapping[str, str] = {}) -> grpc.RpcError | None:
    try:
        launch(site.stub, argv, env=env)
    except grpc.RpcError as error:
        return error
    return None


def test_ceilings_hold_and_are_told() -> None:
    with policed(
        "[ceilings]\nmax_runtime_seconds = 1\nlease_ttl_seconds = 60\nopen_files = 88\nlog_bytes = 65536\n"
    ) as site:
        limits = site.stub.GetSite(pb.GetSiteRequest()).site.limits
        too_long = refused(lambda: launch(site.stub, ["true"], max_runtime=2))
        task = launch(site.stub, shell("ulimit -n; sleep 600")).status

        assert limits.max_runtime.ToTimedelta() == timedelta(seconds=1)
        assert limits.max_lease_ttl.ToTimedelta() == timedelta(minutes=1)
        assert (limits.resources.open_files, limits.resources.log_bytes) == (88, 65536)
        assert too_long.metadata["rule"] == "ceilings.max_runtime_seconds"
        assert until_ended(site.stub, task.task_id).outcome.cause == task_pb2.CAUSE_MAX_RUNTIME
        assert output(site.stub, task.task_id) == b"88\n"


def test_output_is_bounded_and_offsets_do_not_move(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    body = f"""
import os, time
line = b"%09d\\n"
for number in range(200_000):
    os.write(1, line % number)
while not os.path.exists({str(gate)!r}):
    time.sleep(0.01)
os.write(1, b"the last\\n")
"""
    with policed("[ceilings]\nlog_bytes = 65536\n") as site:
        task_id = launch(site.stub, python(body)).status.task_id
        path = until(lambda: next((site.state / "logs").glob("*.stdout"), None))
        assert path is not None
        until(lambda: path.stat().st_size == 2_000_000)
        until(lambda: path.stat().st_blocks * 512 <= 65536 * 2)
        gate.touch()
        until_ended(site.stub, task_id)
        parts = list(site.stub.ReadLogs(pb.ReadLogsRequest(task_id=task_id)))
        earliest = parts[0].header.earliest_offset
        text = b"".join(part.chunk.data for part in parts)
        refusal = refused(lambda: list(site.stub.ReadLogs(pb.ReadLogsRequest(task_id=task_id, offset=0))))

        assert 2_000_000 - 2 * 65536 <= earliest <= 2_000_000 - 65536
        assert parts[0].header.start_offset == earliest
        assert text.endswith(b"000199999\nthe last\n")
        assert len(text) == 2_000_009 - earliest
        assert b"\0" not in text
        assert (refusal.reason, refusal.metadata["earliest"]) == ("LOG_OFFSET_EXPIRED", str(earliest))


def test_a_shutdown_lets_tasks_end_by_themselves_first(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    with policed("[drain]\npatience_seconds = 60\n") as site:
        ends = launch(site.stub, shell(f"until [ -e {gate} ]; do sleep 0.01; done; exit 7")).status.task_id
        site.terminate()
        until(lambda: site.stub.GetSite(pb.GetSiteRequest()).site.state == site_pb2.SITE_STATE_DRAINING)
        refusal = refused(lambda: launch(site.stub, ["true"]))
        assert status_of(site.stub, ends).state == task_pb2.TASK_STATE_RUNNING
        gate.touch()

        assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAVAILABLE, "DRAINING")
        assert refusal.retry_after is not None
        assert site.wait() == 0


def test_a_shutdown_stops_by_plan_what_does_not_end_in_time() -> None:
    with policed("[drain]\npatience_seconds = 0.2\n") as site:
        task_id = launch(site.stub, ["sleep", "600"]).status.task_id
        site.terminate()

        assert site.wait() == 0
        with PolicedSite(site.directory, "") as again:
            ended = status_of(again.stub, task_id)
        assert (ended.outcome.signal, ended.outcome.cause) == (15, task_pb2.CAUSE_SITE_SHUTDOWN)


BAD = [
    (
        f'denied = ["{":".join(["AB"] * 32)}"]\n',
        1,
        "denied",
    ),
    ('denied = ["spiffe://x/*"]\n', 1, "denied"),
    ("[limits]\nmax_connections = 99999999999999\n", 2, "limits.max_connections"),
    ("[ceilings]\nopen_files = 9223372036854775807\n", 2, "ceilings.open_files"),
    ("[ceilings]\nmax_runtime_seconds = 1e-7\n", 2, "ceilings.max_runtime_seconds"),
    (
        '[templates.x]\nargv = ["/bin/true"]\n[templates.x.parameters.p]\npattern = "a{99999}"\n',
        4,
        "templates.x.parameters.p.pattern",
    ),
    (
        '[templates.x]\nargv = ["/bin/true"]\n[templates.x.parameters.p]\nchoices = ["a"]\ndefault = "rm"\n',
        5,
        "templates.x.parameters.p.default",
    ),
    ('[policy]\nallow = "all"\n', 2, "policy.allow"),
    ('[policy]\nallow = "programs"\n', 2, "policy.allow"),
    ('[policy]\nallow = "programs"\nprograms = ["sh"]\n', 3, "policy.programs"),
    ('[policy]\ndirectories = ["/srv/../etc"]\n', 2, "policy.directories"),
    ('[policy]\nenvironment = ["A*B"]\n', 2, "policy.environment"),
    ('[policy]\nuser = "no-such-user-here"\n', 2, "policy.user"),
    ("[ceilings]\nopen_files = -1\n", 2, "ceilings.open_files"),
    ("[ceilings]\nmax_runtime_seconds = nan\n", 2, "ceilings.max_runtime_seconds"),
    ("[ceilings]\nlog_bytes = 1\n", 2, "ceilings.log_bytes"),
    ("[limits]\nmax_launches_per_second = -1\n", 2, "limits.max_launches_per_second"),
    ("[drain]\npatience_seconds = -1\n", 2, "drain.patience_seconds"),
    ('[templates."../x"]\nargv = ["/bin/true"]\n', 1, "templates.../x"),
    ("[templates.x]\nargv = []\n", 2, "templates.x.argv"),
    ('[templates.x]\nargv = ["true"]\n', 2, "templates.x.argv"),
    ('[templates.x]\nargv = ["/bin/{p}"]\n', 2, "templates.x.argv"),
    ('[templates.x]\nargv = ["/bin/true", "{p}"]\n', 2, "templates.x.argv"),
    ('[templates.x]\nargv = ["/bin/true", "{"]\n', 2, "templates.x.argv"),
    ('[templates.x]\nargv = ["/bin/true"]\nsha256 = "zz"\n', 3, "templates.x.sha256"),
    ('[templates.x]\nargv = ["/bin/true"]\n[templates.x.parameters.p]\n', 3, "templates.x.parameters.p"),
    (
        '[templates.x]\nargv = ["/bin/true"]\n[templates.x.parameters.p]\npattern = "("\n',
        4,
        "templates.x.parameters.p.pattern",
    ),
    (
        '[templates.x]\nargv = ["/bin/true"]\n[templates.x.parameters.p]\npattern = "a"\nchoices = ["b"]\n',
        3,
        "templates.x.parameters.p",
    ),
    ('[templates.x]\nargv = ["/bin/true"]\n[templates.x.stop]\nsignal = 65\n', 4, "templates.x.stop.signal"),
]


@pytest.mark.parametrize(("text", "line", "key"), BAD)
def test_a_mistake_is_named_with_its_line_and_key(tmp_path: Path, text: str, line: int, key: str) -> None:
    config = tmp_path / "site.toml"
    config.write_text(text)

    said = farspawnd_says("--config", str(config), "--check-config")

    assert said.code != 0
    assert f"{config}:{line} {key}: " in said.stderr


def test_what_tasks_were_launched_with_is_bounded_too() -> None:
    with policed("[limits]\nmax_specs_bytes = 2_000_000\n") as site:
        for _ in range(10):
            until_ended(site.stub, launch(site.stub, ["true", *["x" * 100_000] * 5]).status.task_id)
        until(lambda: site.stub.GetSite(pb.GetSiteRequest()).site.load.ended_tasks <= 3)
        refusals = [
            each for _ in range(40) if (each := _try(site, ["sleep", "600"], env={"A": "x" * 100_000})) is not None
        ]

        assert 15 < 40 - len(refusals) < 25
        assert {each.details() for each in refusals} == {"the site's limit max_specs_bytes = 2000000 is reached"}


def test_a_task_tells_what_the_site_has_imposed() -> None:
    with policed("[ceilings]\nmax_runtime_seconds = 9\nlease_ttl_seconds = 60\n") as site:
        task = launch(site.stub, ["true"])

        assert task.lease_ttl.ToTimedelta() == timedelta(minutes=1)
        assert task.max_runtime.ToTimedelta() == timedelta(seconds=9)
        assert not task.spec.HasField("lease")


def test_a_stop_of_the_callers_own_puts_the_sites_off_no_longer_than_the_site_allows() -> None:
    ceilings = "[ceilings]\nmax_runtime_seconds = 1\nmax_stop_seconds = 2\n"
    with policed(ceilings + '[templates.sleep]\nargv = ["/bin/sleep", "600"]\n') as site:
        for plan in (task_pb2.StopPlan(linger=span(3600)), task_pb2.StopPlan(signal=23, grace=span(3600))):
            rule = _rule_against(site, task_pb2.TaskSpec(template="sleep", stop=plan))
            assert rule == "ceilings.max_stop_seconds"
        request = asked("sleep")
        site.stub.LaunchTask(request)
        refusal = refused(lambda: stop(site.stub, request.task_id, task_pb2.StopPlan(linger=span(3600))))
        stop(site.stub, request.task_id, task_pb2.StopPlan(linger=span(1.9), signal=23, grace=span(0.1)))

        assert refusal.metadata["rule"] == "ceilings.max_stop_seconds"
        assert until_ended(site.stub, request.task_id).outcome.signal == 9


def _rule_against(site: PolicedSite, spec: task_pb2.TaskSpec) -> str:
    request = pb.LaunchTaskRequest(task_id=new_id(), spec=spec)
    return refused(lambda: site.stub.LaunchTask(request)).metadata["rule"]


def test_new_settings_that_cannot_be_used_change_nothing() -> None:
    with policed("[limits]\nmax_live_tasks = 7\n") as site:
        site.config.write_text('[templates.x]\nargv = ["/bin/true"]\nparameters.p.pattern = "a{99999}"\n')
        os.kill(site.keeper_pid, 1)
        until(lambda: "new settings cannot be used" in site.log)

        assert site.stub.GetSite(pb.GetSiteRequest()).site.limits.max_live_tasks == 7


def test_where_a_site_listens_does_not_change_while_it_runs_and_so_neither_does_what_that_allows() -> None:
    with policed('[policy]\nallow = ""\n') as site:
        site.config.write_text('listen = "127.0.0.1:1"\ninsecure = true\n[limits]\nmax_live_tasks = 9\n')
        os.kill(site.keeper_pid, 1)
        until(lambda: site.stub.GetSite(pb.GetSiteRequest()).site.limits.max_live_tasks == 9)

        assert site.stub.GetSite(pb.GetSiteRequest()).site.admission == site_pb2.ADMISSION_ANY


def test_output_of_all_attempts_is_bounded() -> None:
    with policed("[ceilings]\nlog_bytes = 65536\n") as site:
        restart = task_pb2.RestartPolicy(
            mode=task_pb2.RESTART_MODE_ALWAYS, max_restarts=30, initial_backoff=span(0.01), max_backoff=span(0.01)
        )
        spec = task_pb2.TaskSpec(argv=shell("head -c 2000000 /dev/zero | tr '\\0' x"), restart=restart)
        task_id = site.stub.LaunchTask(pb.LaunchTaskRequest(spec=spec)).task.status.task_id
        until_ended(site.stub, task_id, timeout=PATIENCE)

        def kept() -> float:
            with contextlib.suppress(FileNotFoundError):  # one was removed meanwhile
                return sum(path.stat().st_blocks * 512 for path in (site.state / "logs").iterdir())
            return math.inf

        until(lambda: kept() < 22 * 65536 * 2)
        assert len(list((site.state / "logs").glob("*.stdout"))) <= 22


def test_a_file_that_its_task_cuts_keeps_no_reader_busy() -> None:
    body = """
import os
for _ in range(300):
    os.write(1, b"line\\n" * 20_000)
    os.ftruncate(1, 0)
"""
    with policed("") as site:
        task_id = launch(site.stub, python(body)).status.task_id
        for _ in range(50):
            list(site.stub.ReadLogs(pb.ReadLogsRequest(task_id=task_id, tail_lines=3), timeout=PATIENCE))
        until_ended(site.stub, task_id)


def test_a_value_that_would_make_a_matcher_backtrack_is_refused_at_once() -> None:
    template = (
        '[templates.t]\nargv = ["/bin/echo", "{name}"]\n[templates.t.parameters.name]\npattern = "([a-z0-9]+-?)+"\n'
    )
    spec = task_pb2.TaskSpec(template="t", parameters={"name": "a" * 40 + "!"})
    with policed(template) as site:
        error = refused(lambda: site.stub.LaunchTask(pb.LaunchTaskRequest(spec=spec), timeout=PATIENCE))

    assert error.code is grpc.StatusCode.INVALID_ARGUMENT


def test_restarts_count_as_launches_and_wait() -> None:
    soon = span(0.01)
    often = task_pb2.RestartPolicy(mode=task_pb2.RESTART_MODE_ALWAYS, initial_backoff=soon, max_backoff=soon)
    spec = task_pb2.TaskSpec(argv=["true"], restart=often)
    with policed("[limits]\nmax_launches_per_second = 2\n") as site:
        task_id = site.stub.LaunchTask(pb.LaunchTaskRequest(spec=spec), timeout=PATIENCE).task.status.task_id
        until(lambda: status_of(site.stub, task_id).attempt >= 4)
        stop(site.stub, task_id)
        ended = until_ended(site.stub, task_id)

    attempts = [*(each.times for each in ended.earlier_attempts), ended.times]
    second, _, fourth = [times.started.ToNanoseconds() for times in attempts[1:4]]
    assert fourth - second >= 0.9e9  # a token a second, half the rate; by their back-off alone they take 20 ms
