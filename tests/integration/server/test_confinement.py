"""The keeper starts a confined task as it starts any: every end told, nothing lost by a reload or its own death."""

from __future__ import annotations

import base64
import errno
import hashlib
import os
import pwd
import signal
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.agent import short_directory
from support.hanging import hung_program
from support.keeper import ServedKeeper
from support.processes import state
from support.waiting import until

from farspawn_core import cgroup, proc
from farspawn_server.keeper.messages import Adopt, Confinement, Failure, Kill, Signal, Write

LIMITED = Confinement(open_files=100, niceness=1)
IS_ROOT = os.geteuid() == 0
_MANY = 60
UID = f"{uuid.uuid4().hex}/1"  # another process's keeper must not have the same: the groups have their names from it


@pytest.fixture
def directory() -> Iterator[Path]:
    with short_directory() as path:
        path.chmod(0o755)
        yield path


@pytest.fixture
def keeper(directory: Path) -> Iterator[ServedKeeper]:
    with ServedKeeper(directory) as running:
        yield running


def test_everything_that_is_imposed_holds_together(keeper: ServedKeeper) -> None:
    tool = keeper.directory / "tool"
    tool.write_text("#!/bin/sh\npwd; id -u; nice; ulimit -n; ulimit -v; ulimit -t\n")
    tool.chmod(0o755)
    imposed = Confinement(
        directories=[str(keeper.directory)],
        sha256=hashlib.sha256(tool.read_bytes()).hexdigest(),
        user="nobody" if IS_ROOT else "",
        address_space_bytes=1 << 30,
        cpu_seconds=60,
        open_files=100,
        processes=1000,
        memory_bytes=1 << 30,
        niceness=1,
    )

    keeper.spawn(UID, [str(tool)], imposed, cwd=str(keeper.directory))
    over = keeper.until_over(UID)

    assert over.ended is not None
    assert over.ended.code == 0
    user = pwd.getpwnam("nobody").pw_uid if IS_ROOT else os.geteuid()
    nice = min(19, os.nice(0) + 1)
    assert keeper.output(UID).read_text().splitlines() == [
        str(keeper.directory), str(user), str(nice), "100", str(1 << 20), "60",
    ]  # fmt: skip


def test_each_refusal_is_told_with_errno_and_phase(keeper: ServedKeeper) -> None:
    for uid, argv, confinement in (
        ("outside/1", ["true"], Confinement(directories=["/nowhere"])),
        ("changed/1", ["/bin/true"], Confinement(sha256="0" * 64)),
        ("unknown/1", ["true"], Confinement(user="no-such-user", memory_bytes=1 << 30)),
        ("missing/1", ["no-such-tool"], LIMITED),
        ("large/1", ["/bin/true", "x" * (1 << 18)], LIMITED),
    ):
        keeper.spawn(uid, argv, confinement)

    failures = {
        uid: keeper.until_over(f"{uid}/1").failure for uid in ("outside", "changed", "unknown", "missing", "large")
    }

    assert failures == {
        "outside": Failure(errno.EACCES, "working_directory", "/"),
        "changed": Failure(errno.EKEYREJECTED, "program", os.path.realpath("/bin/true")),
        "unknown": Failure(errno.ENOENT, "confinement", "no-such-user"),
        "missing": Failure(errno.ENOENT, "program", "no-such-tool"),
        "large": Failure(errno.E2BIG, "spawn", "/bin/true"),
    }
    assert keeper.children() == []
    if (home := cgroup.home()) is not None:
        assert not (home / "unknown.1").exists()


def test_starts_that_fail_beside_others_that_end_at_once_lose_no_end(keeper: ServedKeeper) -> None:
    for number in range(_MANY):
        keeper.spawn(f"fails{number}/1", ["no-such-tool"], LIMITED)
        keeper.spawn(f"ends{number}/1", ["sh", "-c", f"exit {number}"], LIMITED if number % 2 else None)
        keeper.spawn(f"unable{number}/1", ["/bin/true", "x" * (1 << 18)])  # posix_spawn itself reaps its child

    ends = [keeper.until_over(f"ends{number}/1").ended for number in range(_MANY)]
    failed = [keeper.until_over(f"{word}{number}/1").failure for word in ("fails", "unable") for number in range(_MANY)]

    assert [end.code for end in ends if end is not None] == list(range(_MANY))
    assert {failure.error_number for failure in failed if failure is not None} == {errno.ENOENT, errno.E2BIG}
    until(lambda: keeper.children() == [])


def test_a_confined_task_reads_what_is_written_to_it(keeper: ServedKeeper) -> None:
    keeper.spawn(UID, ["cat"], LIMITED, open_input=True)
    keeper.until_started(UID)

    keeper.order(Write(1, UID, 0, base64.b64encode(b"hello").decode(), end=True))

    assert keeper.until_over(UID).ended is not None
    assert keeper.output(UID).read_text() == "hello"


def test_a_confined_task_is_born_into_its_group(keeper: ServedKeeper) -> None:
    if cgroup.home() is None:
        pytest.skip("no cgroup v2 here in which this process may make groups")

    keeper.spawn(UID, ["cat", "/proc/self/cgroup"], Confinement(processes=1000))
    keeper.until_over(UID)

    assert f"/farspawn/{UID.replace('/', '.')}\n" in keeper.output(UID).read_text()


def test_a_kill_ends_a_confined_start_that_hangs(keeper: ServedKeeper) -> None:
    with hung_program(keeper.directory / "hung") as hung:
        keeper.spawn(UID, [hung.path], LIMITED)
        hung.until_executing()

        keeper.order(Kill(UID))

        over = keeper.until_over(UID)
    assert over.ended is not None
    assert over.ended.signal == signal.SIGKILL


def test_a_confined_task_outlives_a_reload(keeper: ServedKeeper) -> None:
    keeper.spawn(UID, ["sh", "-c", "trap 'exit 7' TERM; while :; do sleep 0.01; done"], LIMITED)
    before = keeper.until_started(UID)

    keeper.reload()
    (after,) = keeper.hello.holdings
    keeper.order(Signal(1, UID, signal.SIGTERM, tree=False))

    assert (after.pid, after.start_time) == (before.pid, before.start_time)
    ended = keeper.until_over(UID).ended
    assert ended is not None
    assert ended.code == 7 or ended.signal == signal.SIGTERM  # it may not have come to its trap yet


@pytest.mark.parametrize("known", [True, False], ids=["by its pid", "by its cookie"])
def test_a_confined_task_is_found_again_by_the_next_keeper(directory: Path, *, known: bool) -> None:
    with ServedKeeper(directory) as first:
        first.spawn(UID, ["sleep", "600"], Confinement(user="nobody" if IS_ROOT else "", open_files=100))
        before = first.until_started(UID)
        first.kill()

        with ServedKeeper(directory) as second:
            second.order(Adopt(UID, before.pid if known else 0, before.start_time if known else 0, 0))
            after = second.until_started(UID)
            second.order(Kill(UID))
            second.until_over(UID)

    assert (after.pid, after.start_time) == (before.pid, before.start_time)
    assert (state(before.pid) or ("Z", 0))[0] == "Z"


def test_a_start_whose_keeper_is_killed_before_the_exec_is_found_and_runs(directory: Path) -> None:
    with ServedKeeper(directory) as first, hung_program(directory / "hung") as hung:
        first.spawn(UID, [hung.path], LIMITED)
        hung.until_executing()
        (pid,) = first.children()
        process = proc.read(pid)
        assert process is not None
        first.kill()

        with ServedKeeper(directory) as second:
            second.order(Adopt(UID, 0, 0, 0))
            adopted = second.until_started(UID)
            hung.let_go()
            second.until_over(UID)

    assert (adopted.pid, adopted.start_time) == process.key
    assert first.output(UID).read_text() == ""  # not a word of the executor's
