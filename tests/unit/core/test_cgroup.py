"""A task's cgroup: who is put in is found, with all it starts, and ended at one stroke; what is gone is borne."""

from __future__ import annotations

import os
import signal
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.apart import Apart
from support.confined import WITHOUT_CGROUPS, why_not
from support.waiting import PATIENCE, until

from farspawn_core import cgroup
from farspawn_core.cgroup import Cgroup, Home
from farspawn_core.tree import Tree


@pytest.fixture
def group() -> Iterator[Cgroup]:
    """A real group of the test's own, gone again at its end with all that is in it."""
    home = cgroup.home()
    if home is None:
        pytest.skip("no cgroup v2 here in which this process may make groups")
    made = Cgroup(home.path / f"test-{uuid.uuid4().hex}")
    yield made
    made.kill()
    until(lambda: not made.pids())
    made.remove()


@pytest.fixture
def waiter() -> Iterator[subprocess.Popen[bytes]]:
    """A shell that starts a grandchild in a session of its own for each line that it is given."""
    script = "while read _; do setsid sleep 1000 & done"
    with subprocess.Popen(["/bin/sh", "-c", script], stdin=subprocess.PIPE, start_new_session=True) as process:
        yield process
        process.kill()


def test_who_is_put_in_is_in_it_and_what_it_starts_too(group: Cgroup, waiter: subprocess.Popen[bytes]) -> None:
    assert group.pids() == []

    put(waiter.pid, group)
    tell(waiter)

    until(lambda: len(group.pids()) == 2)
    assert waiter.pid in group.pids()
    assert group.pids()


def put(pid: int, group: Cgroup) -> None:
    (Path(group.path) / "cgroup.procs").write_text(str(pid))


def tell(waiter: subprocess.Popen[bytes]) -> None:
    assert waiter.stdin is not None
    waiter.stdin.write(b"\n")
    waiter.stdin.flush()


def test_who_is_in_it_is_killed_at_one_stroke(group: Cgroup, waiter: subprocess.Popen[bytes]) -> None:
    put(waiter.pid, group)
    tell(waiter)
    until(lambda: len(group.pids()) == 2)

    group.kill()

    assert waiter.wait(PATIENCE) == -signal.SIGKILL
    until(lambda: group.pids() == [])


def test_who_is_in_a_group_below_it_is_in_it(group: Cgroup, waiter: subprocess.Popen[bytes]) -> None:
    Cgroup(f"{group.path}/below")
    below = Cgroup(f"{group.path}/below/further")

    put(waiter.pid, below)

    assert group.pids() == [waiter.pid]
    group.kill()
    assert waiter.wait(PATIENCE) == -signal.SIGKILL


def test_a_group_is_removed_with_those_below_it(group: Cgroup) -> None:
    Cgroup(f"{group.path}/below")
    Cgroup(f"{group.path}/below/further")

    group.remove()

    assert not os.path.exists(group.path)


def test_a_group_in_which_somebody_lives_is_not_removed(group: Cgroup, waiter: subprocess.Popen[bytes]) -> None:
    put(waiter.pid, group)

    group.remove()

    assert group.pids() == [waiter.pid]


def test_a_group_that_is_there_is_taken_over(group: Cgroup, waiter: subprocess.Popen[bytes]) -> None:
    put(waiter.pid, group)

    assert Cgroup(group.path).pids() == [waiter.pid]


def test_a_group_that_is_gone_is_borne(group: Cgroup) -> None:
    group.remove()

    group.kill()
    group.remove()

    assert group.pids() == []
    assert group.pids() == []
    assert group.out_of_memory() is None


def test_every_user_may_read_a_group_whatever_our_umask(group: Cgroup) -> None:
    before = os.umask(0o077)
    try:
        below = Cgroup(Path(group.path) / "below")
    finally:
        os.umask(before)

    assert os.stat(below.path).st_mode & 0o777 == 0o755


def test_a_group_that_cannot_be_made_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(OSError, match="file"):
        Cgroup(tmp_path / "file" / "below")


@pytest.mark.parametrize(
    ("events", "killed"),
    [
        ("low 0\nhigh 0\nmax 7\noom 1\noom_kill 1\noom_group_kill 0\n", True),
        ("low 0\nhigh 0\nmax 7\noom 3\noom_kill 0\noom_group_kill 0\n", False),
        ("oom_kill 12\n", True),
        ("oom_group_kill 5\n", None),
        ("", None),
    ],
)
def test_the_kernels_count_tells_of_an_end_for_want_of_memory(
    tmp_path: Path, events: str, *, killed: bool | None
) -> None:
    group = Cgroup(tmp_path / "group")
    (tmp_path / "group" / "memory.events").write_text(events)

    assert group.out_of_memory() is killed


def test_where_the_kernel_does_not_count_nobody_knows(tmp_path: Path) -> None:
    assert Cgroup(tmp_path / "group").out_of_memory() is None


def test_there_is_no_place_for_groups_where_no_cgroup_v2_is_mounted() -> None:
    if reason := why_not(WITHOUT_CGROUPS):
        pytest.skip(f"needs root, to hide the cgroups: {reason}")

    assert Apart(prefix=WITHOUT_CGROUPS).run(place_for_groups) == ""


def place_for_groups() -> str:
    home = cgroup.home()
    return "" if home is None else str(home.path)


def test_the_place_for_groups_is_below_the_own_group() -> None:
    home = cgroup.home()
    if home is None:
        pytest.skip("no cgroup v2 here in which this process may make groups")

    assert str(os.getpid()) in (home.path.parent / "cgroup.procs").read_text().split()


@pytest.fixture
def unit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The files of a group that systemd has delegated, with us in a subgroup of it, as far as files can play that."""
    unit = tmp_path / "unit"
    (unit / "agent").mkdir(parents=True)
    for group in (unit, unit / "agent"):
        (group / "cgroup.procs").touch()
        (group / "cgroup.subtree_control").touch()
    monkeypatch.setattr(cgroup, "own_group", lambda: unit / "agent")
    return unit


@pytest.mark.parametrize("name", ["agent", ".control"])
def test_from_a_subgroup_of_a_unit_the_place_is_beside_it_and_the_unit_hands_controllers_down(
    unit: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(cgroup, "own_group", lambda: unit / name)

    home = cgroup.home()

    assert home == Home(unit / "farspawn")
    assert (unit / "cgroup.subtree_control").read_text().startswith("+pids")  # the last one is on top


def test_a_group_in_which_somebody_lives_hands_nothing_down(unit: Path) -> None:
    (unit / "cgroup.procs").write_text("1\n")

    cgroup.home()

    assert (unit / "cgroup.subtree_control").read_text() == ""


def test_from_any_other_group_the_place_is_below_it(unit: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cgroup, "own_group", lambda: unit)

    assert cgroup.home() == Home(unit / "farspawn")


def test_where_no_group_can_be_made_beside_the_place_is_below(unit: Path) -> None:
    (unit / "farspawn").touch()  # who runs the tests may be root: no mode would keep them

    assert cgroup.home() == Home(unit / "agent" / "farspawn")


@pytest.mark.parametrize(
    ("limits", "file"), [({"memory_bytes": 1 << 20}, "memory.max"), ({"processes": 5}, "pids.max")]
)
def test_a_limit_that_cannot_be_set_is_named(group: Cgroup, limits: dict[str, int], file: str) -> None:
    if (Path(group.path) / file).exists():
        pytest.skip(f"{file} can be set here")

    with pytest.raises(OSError, match=file) as caught:
        group.limit(**limits)

    assert caught.value.filename == file


def test_limits_are_what_the_kernel_is_told(tmp_path: Path) -> None:
    group = Cgroup(tmp_path)
    for name in ("memory.max", "memory.swap.max", "pids.max"):
        (tmp_path / name).touch()

    group.limit(memory_bytes=1 << 20, processes=7)

    told = {file.name: file.read_text() for file in tmp_path.iterdir()}
    assert told == {"memory.max": "1048576", "memory.swap.max": "0", "pids.max": "7"}


def test_no_limit_is_asked_of_a_group_that_has_none(tmp_path: Path) -> None:
    Cgroup(tmp_path).limit()

    assert list(tmp_path.iterdir()) == []


def test_a_descriptor_stands_for_the_directory_and_is_not_inherited(group: Cgroup) -> None:
    descriptor = group.descriptor()

    try:
        assert os.readlink(f"/proc/self/fd/{descriptor}") == group.path
        assert not os.get_inheritable(descriptor)
    finally:
        os.close(descriptor)


def test_a_leader_that_was_never_found_has_no_tree() -> None:
    """Pid 0 is the session of all that comes from outside our pid namespace: none of it is the task's."""
    tree = Tree(0, cookie=("FARSPAWN_TEST_NOBODY", uuid.uuid4().hex), start_time=0)

    before = tree.members()
    left = tree.leader_ended()

    assert (before, left, tree.members()) == ([], [], [])


def test_a_sweep_removes_old_groups_but_those_to_be_kept(tmp_path: Path) -> None:
    for name in ("old.1", "kept.1", "young.1"):
        (tmp_path / name).mkdir()
    for name in ("old.1", "kept.1"):
        os.utime(tmp_path / name, (0, 0))

    cgroup.sweep(Home(tmp_path), keep=lambda name: name == "kept.1")

    assert sorted(os.listdir(tmp_path)) == ["kept.1", "young.1"]
