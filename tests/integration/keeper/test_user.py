"""A program that runs as another user has that user's rights from its first instruction on, and no way back."""

from __future__ import annotations

import errno
import os
import pwd
import shutil
from pathlib import Path

import pytest
from support.confined import why_not
from support.keeper import ServedKeeper

from farspawn_server.keeper.messages import Confinement, Failure, User

NAME = "nobody"

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: only root can start a program as another user")


def as_user(name: str = NAME, **more: int) -> Confinement:
    found = pwd.getpwnam(name)
    groups = os.getgrouplist(name, found.pw_gid)
    return Confinement(user=User(name, found.pw_uid, found.pw_gid, groups), **more)  # type: ignore[arg-type]


def status_of(keeper: ServedKeeper, confinement: Confinement) -> dict[str, list[str]]:
    _, text = keeper.run(["cat", "/proc/self/status"], confinement)
    return {line.split(":")[0]: line.split()[1:] for line in text.splitlines()}


def test_all_ids_are_the_users_and_the_groups_too(keeper: ServedKeeper) -> None:
    user = pwd.getpwnam(NAME)

    status = status_of(keeper, as_user())

    assert status["Uid"] == [str(user.pw_uid)] * 4
    assert status["Gid"] == [str(user.pw_gid)] * 4
    assert sorted(map(int, status["Groups"])) == sorted(os.getgrouplist(NAME, user.pw_gid))


def test_no_capability_is_left_and_none_can_be_had(keeper: ServedKeeper) -> None:
    status = status_of(keeper, as_user())

    for name in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
        assert int(status[name][0], 16) == 0
    assert status["NoNewPrivs"] == ["1"]


def test_there_is_no_way_back_to_root(keeper: ServedKeeper) -> None:
    if shutil.which("setpriv") is None:
        pytest.skip("no setpriv here to try it with")
    back = ["setpriv", "--reuid=0", "true"]

    plain, _ = keeper.run(back)
    confined, _ = keeper.run(back, as_user())

    assert plain.ended is not None
    assert plain.ended.code == 0
    assert confined.ended is not None
    assert confined.ended.code != 0


def test_a_set_user_id_program_gives_nothing(keeper: ServedKeeper) -> None:
    tool = keeper.directory / "id"
    shutil.copy("/usr/bin/id", tool)
    tool.chmod(0o4755)

    _, found = keeper.run([str(tool), "-u"], as_user())

    assert int(found) == pwd.getpwnam(NAME).pw_uid


def test_root_stays_root_if_that_is_who_was_named(keeper: ServedKeeper) -> None:
    status = status_of(keeper, as_user("root"))

    assert status["Uid"] == ["0"] * 4
    assert status["NoNewPrivs"] == ["0"]


def test_a_program_is_searched_with_the_users_eyes(keeper: ServedKeeper) -> None:
    for name, mode in (("first", 0o700), ("second", 0o755)):
        (keeper.directory / name).mkdir()
        tool = keeper.directory / name / "tool"
        tool.write_text(f"#!/bin/sh\necho {name}\n")
        tool.chmod(0o755)
        (keeper.directory / name).chmod(mode)
    search = {"PATH": f"{keeper.directory}/first:{keeper.directory}/second"}

    assert keeper.run(["tool"], env=search)[1] == "first\n"
    assert keeper.run(["tool"], as_user(), env=search)[1] == "second\n"


def test_a_program_that_only_root_may_execute_is_eacces(keeper: ServedKeeper) -> None:
    tool = keeper.directory / "tool"
    shutil.copy("/bin/true", tool)
    tool.chmod(0o700)

    over, _ = keeper.run([str(tool)], as_user())

    assert over.failure == Failure(errno.EACCES, "program", str(tool))


def test_a_directory_that_the_user_may_not_enter_is_refused(keeper: ServedKeeper) -> None:
    closed = keeper.directory / "closed"
    (closed / "below").mkdir(parents=True)
    closed.chmod(0o700)

    for path in (closed, closed / "below"):  # the second it could use, had it not to go through the first
        over, _ = keeper.run(["true"], as_user(), cwd=str(path))
        assert over.failure == Failure(errno.EACCES, "working_directory", str(path))


def test_its_streams_can_be_opened_by_name(keeper: ServedKeeper) -> None:
    uid = "task/1"
    keeper.spawn(uid, ["sh", "-c", "echo out > /dev/stdout; echo err > /dev/stderr"], as_user())

    keeper.until_over(uid)

    assert (keeper.output(uid), keeper.output(uid, "stderr")) == ("out\n", "err\n")


def test_more_processes_of_a_user_cannot_be_started(keeper: ServedKeeper) -> None:
    if "pids" in keeper.hello.controllers:
        pytest.skip("here the group is limited, not the user")
    starts_one = ["/bin/sh", "-c", "/bin/true; exit 0"]

    enough, _ = keeper.run(starts_one, as_user("games", processes=2))
    too_few, _ = keeper.run(starts_one, as_user("games", processes=1))

    assert enough.ended is not None
    assert enough.ended.code == 0
    assert too_few.ended is not None
    assert too_few.ended.code == 2  # "Cannot fork"


def test_capabilities_that_outlive_the_change_of_user_are_refused(directory: Path) -> None:
    prefix = ("setpriv", "--securebits=+no_setuid_fixup")
    if reason := why_not(prefix):
        pytest.skip(f"cannot keep capabilities here: {reason}")
    with ServedKeeper(directory, through=prefix) as keeper:
        over, _ = keeper.run(["true"], as_user())

    assert over.failure is not None
    assert (over.failure.error_number, over.failure.phase) == (errno.EPERM, "confinement")
