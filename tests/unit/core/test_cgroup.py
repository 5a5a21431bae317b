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
from farspawn_core.cgroup import Cgroup
from farspawn_core.tree import Tree

NO_SUCH_PID = 2**22 + 1  # above the largest that Linux gives: proc_sys_kernel(5)


@pytest.fixture
def group() -> Iterator[Cgroup]:
    """A real group of the test's own, gone again at its end with all that is in it."""
    home = cgroup.home()
    if home is None:
        pytest.skip("no cgroup v2 here in which this process may make groups")
    made = Cgroup(home / f"test-{uuid.uuid4().hex}")
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

    group.add(waiter.pid)
    tell(waiter)

    until(lambda: len(group.pids()) == 2)
    assert waiter.pid in group.pids()


def tell(waiter: subprocess.Popen[bytes]) -> None:
    assert waiter.stdin is not None
    waiter.stdin.write(b"\n")
    waiter.stdin.flush()


def test_who_is_in_it_is_killed_at_one_stroke(group: Cgroup, waiter: subprocess.Popen[bytes]) -> None:
    group.add(waiter.pid)
    tell(waiter)
    until(lambda: len(group.pids()) == 2)

    group.kill()

    assert waiter.wait(PATIENCE) == -signal.SIGKILL
    until(lambda: group.pids() == [])


def test_who_is_in_a_group_below_it_is_in_it(group: Cgroup, waiter: subprocess.Popen[bytes]) -> None:
    below = Cgroup(group._path / "below" / "further")

    below.add(waiter.pid)

    assert group.pids() == [waiter.pid]
    group.kill()
    assert waiter.wait(PATIENCE) == -signal.SIGKILL


def test_a_group_is_removed_with_those_below_it(group: Cgroup) -> None:
    Cgroup(group._path / "below" / "further")

    group.remove()

    assert not group._path.exists()


def test_a_group_in_which_somebody_lives_is_not_removed(group: Cgroup, waiter: subprocess.Popen[bytes]) -> None:
    group.add(waiter.pid)

    group.remove()

    assert group.pids() == [waiter.pid]


def test_a_group_that_is_there_is_taken_over(group: Cgroup, waiter: subprocess.Popen[bytes]) -> None:
    group.add(waiter.pid)

    assert Cgroup(group._path).pids() == [waiter.pid]


def test_who_has_ended_is_put_nowhere(group: Cgroup) -> None:
    group.add(NO_SUCH_PID)

    assert group.pids() == []


@pytest.mark.parametrize("pid", [0, -1])
def test_nobody_is_put_in_without_a_pid_of_their_own(tmp_path: Path, pid: int) -> None:
    """The kernel would take 0 for whoever writes it: that is us."""
    group = Cgroup(tmp_path / "group")

    with pytest.raises(ValueError, match=str(pid)):
        group.add(pid)


def test_a_group_that_is_gone_is_borne(group: Cgroup) -> None:
    group.remove()

    group.add(os.getpid())
    group.kill()
    group.remove()

    assert group.pids() == []
    assert group.out_of_memory() is None


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
    return "" if home is None else str(home)


def test_the_place_for_groups_is_below_the_own_group() -> None:
    home = cgroup.home()
    if home is None:
        pytest.skip("no cgroup v2 here in which this process may make groups")

    assert str(os.getpid()) in (home.parent / "cgroup.procs").read_text().split()


def test_a_leader_that_was_never_found_has_no_tree() -> None:
    """Pid 0 is the session of all that comes from outside our pid namespace: none of it is the task's."""
    tree = Tree(0, cookie=("FARSPAWN_TEST_NOBODY", uuid.uuid4().hex), start_time=0)

    before = tree.members()
    left = tree.leader_ended()

    assert (before, left, tree.members()) == ([], [], [])
