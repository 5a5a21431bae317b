"""A program that runs as another user has that user's rights from its first instruction on, and no way back."""

from __future__ import annotations

import errno
import os
import pwd
import shutil
from pathlib import Path

import pytest
from support.apart import Apart
from support.confined import why_not
from support.processes import PLAIN, exit_code_of, output_of

from farspawn_core import Confinement, SpawnError, spawn

NAME = "nobody"
AS_USER = Confinement(user=NAME)

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: only root can start a program as another user")


def refusal(argv: list[str], confinement: Confinement = AS_USER, *, cwd: str, path: str = "/bin") -> tuple[str, ...]:
    with pytest.raises(SpawnError) as caught:
        spawn(argv, env={"PATH": path}, cwd=cwd, confinement=confinement)
    error = caught.value
    return errno.errorcode[error.errno or 0], error.phase.name, error.filename


def status_of(confinement: Confinement) -> dict[str, list[str]]:
    text = output_of(["cat", "/proc/self/status"], cwd="/", confinement=confinement)
    return {line.split(":")[0]: line.split()[1:] for line in text.splitlines()}


def test_all_ids_are_the_users_and_the_groups_too() -> None:
    user = pwd.getpwnam(NAME)

    status = status_of(AS_USER)

    assert status["Uid"] == [str(user.pw_uid)] * 4
    assert status["Gid"] == [str(user.pw_gid)] * 4
    groups = sorted(os.getgrouplist(NAME, user.pw_gid))
    assert sorted(map(int, status["Groups"])) == groups


def drop_and_tell_groups() -> str:
    os.setgroups([0, 4, 24])
    return output_of(["id", "-G"], cwd="/", confinement=AS_USER)


def test_none_of_our_groups_is_kept() -> None:
    user = pwd.getpwnam(NAME)

    found = Apart().run(drop_and_tell_groups)

    assert set(map(int, found.split())) == set(os.getgrouplist(NAME, user.pw_gid))


def test_no_capability_is_left_and_none_can_be_had() -> None:
    status = status_of(AS_USER)

    for name in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
        assert int(status[name][0], 16) == 0
    assert status["NoNewPrivs"] == ["1"]


def test_there_is_no_way_back_to_root() -> None:
    if shutil.which("setpriv") is None:
        pytest.skip("no setpriv here to try it with")
    back = ["setpriv", "--reuid=0", "true"]

    assert exit_code_of(back) == 0
    assert exit_code_of(back, cwd="/", confinement=AS_USER) != 0


def test_a_set_user_id_program_gives_nothing(public_path: Path) -> None:
    tool = public_path / "id"
    shutil.copy("/usr/bin/id", tool)
    tool.chmod(0o4755)

    found = output_of([str(tool), "-u"], cwd="/", confinement=AS_USER)

    assert int(found) == pwd.getpwnam(NAME).pw_uid


def test_root_stays_root_if_that_is_who_was_named() -> None:
    status = status_of(Confinement(user="root"))

    assert status["Uid"] == ["0"] * 4
    assert status["NoNewPrivs"] == ["0"]


def test_an_unknown_user_is_enoent() -> None:
    assert refusal(["true"], Confinement(user="no-such-user"), cwd="/") == ("ENOENT", "CONFINEMENT", "no-such-user")
    assert refusal(["true"], Confinement(user="a\0b"), cwd="/")[:2] == ("EINVAL", "CONFINEMENT")


def test_a_program_that_only_root_may_execute_is_eacces(public_path: Path) -> None:
    tool = public_path / "tool"
    shutil.copy("/bin/true", tool)
    tool.chmod(0o700)

    assert exit_code_of([str(tool)], cwd="/") == 0
    assert refusal([str(tool)], cwd="/") == ("EACCES", "PROGRAM", str(tool))
    assert refusal(["tool"], cwd="/", path=str(public_path)) == ("EACCES", "PROGRAM", "tool")


def test_a_program_is_searched_with_the_users_eyes(public_path: Path) -> None:
    for name, mode in (("first", 0o700), ("second", 0o755)):
        (public_path / name).mkdir()
        tool = public_path / name / "tool"
        tool.write_text(f"#!/bin/sh\necho {name}\n")
        tool.chmod(0o755)
        (public_path / name).chmod(mode)
    search = {"PATH": f"{public_path}/first:{public_path}/second"}

    assert output_of(["tool"], search, cwd="/") == "first\n"
    assert output_of(["tool"], search, cwd="/", confinement=AS_USER) == "second\n"


def test_a_program_is_searched_from_the_working_directory(public_path: Path) -> None:
    tool = public_path / "tool"
    tool.write_text("#!/bin/sh\necho $0\n")
    tool.chmod(0o755)

    assert output_of(["./tool"], cwd=str(public_path), confinement=AS_USER) == "./tool\n"
    assert output_of(["tool"], {"PATH": "."}, cwd=str(public_path), confinement=AS_USER) == "./tool\n"


def test_a_directory_that_the_user_may_not_enter_is_refused(public_path: Path) -> None:
    closed = public_path / "closed"
    (closed / "below").mkdir(parents=True)
    closed.chmod(0o700)

    for path in (closed, closed / "below"):  # the second it could use, had it not to go through the first
        assert refusal(["true"], cwd=str(path)) == ("EACCES", "WORKING_DIRECTORY", str(path))
    assert output_of(["/bin/pwd"], cwd=str(public_path), confinement=AS_USER) == f"{public_path}\n"


def refusal_where_we_are_nobody(name: str) -> list[str]:
    try:
        pid = spawn(["/bin/true"], env=PLAIN, cwd="/", confinement=Confinement(user=name))
    except SpawnError as error:
        return [errno.errorcode[error.errno or 0], error.phase.name, error.filename]
    return [str(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))]


def test_an_agent_that_is_not_root_can_name_only_itself() -> None:
    user = pwd.getpwnam(NAME)
    # It reads all, for this Python may lie in root's home.
    reads = "+dac_override,+dac_read_search"
    ids = (f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups")
    prefix = ("setpriv", *ids, f"--inh-caps={reads}", f"--ambient-caps={reads}", f"--bounding-set=-all,{reads}")
    if reason := why_not(prefix):
        pytest.skip(f"cannot give up root here: {reason}")
    as_nobody = Apart(prefix=prefix)

    assert as_nobody.run(refusal_where_we_are_nobody, "root") == ["EPERM", "CONFINEMENT", "root"]
    assert as_nobody.run(refusal_where_we_are_nobody, "daemon") == ["EPERM", "CONFINEMENT", "daemon"]
    assert as_nobody.run(refusal_where_we_are_nobody, NAME) == ["0"]


def test_capabilities_that_outlive_the_change_of_user_are_refused() -> None:
    prefix = ("setpriv", "--securebits=+no_setuid_fixup")
    if reason := why_not(prefix):
        pytest.skip(f"cannot keep capabilities here: {reason}")

    assert Apart(prefix=prefix).run(refusal_where_we_are_nobody, NAME) == ["EPERM", "CONFINEMENT", NAME]
