"""Told as ended means that nothing lives: rule 1, each way to escape many times, as root and not, with cgroup and not.

`make test` tries each a few times; FARSPAWN_ESCAPES=1000 as often as the rule says.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.processes import pids_with_argument
from support.shim import OneShim
from support.waiting import until

from farspawn_core import cgroup, shim

TIMES = int(os.environ.get("FARSPAWN_ESCAPES", "25"))
WAYS = (
    "hops",
    "daemonizes without an environment",
    "makes a sibling",
    "has a subreaper of its own",
    "cannot be looked into",
)
NOBODY = (65534, 65534, (65534,))


@pytest.fixture(params=["no cgroup", "cgroup"])
def group(request: pytest.FixtureRequest) -> Iterator[Path | None]:
    if request.param == "no cgroup":
        yield None
        return
    home = cgroup.home()
    if home is None:
        pytest.skip("needs a cgroup (v2) that we may divide: be root, or have one delegated")
    made = cgroup.make(home, f"escapes-{os.getpid()}")
    assert made is not None
    try:
        yield Path(made.path)
    finally:
        made.remove()


@pytest.fixture(params=["our own user", "another user"])
def user(request: pytest.FixtureRequest) -> tuple[int, int, tuple[int, ...]] | None:
    if request.param == "our own user":
        return None
    if os.geteuid() != 0:
        pytest.skip("needs root, to run something as another user")
    return NOBODY


@pytest.mark.parametrize("way", WAYS)
def test_nothing_outlives_its_task(
    way: str, group: Path | None, user: tuple[int, int, tuple[int, ...]] | None, escapes: Path, tmp_path: Path
) -> None:
    left: list[int] = []
    for number in range(TIMES):
        marker = f"marker-{os.getpid()}-{number}"
        state = tmp_path / str(number)
        state.mkdir()
        with OneShim(state, [str(escapes), way, marker], group=group, user=user) as run:
            run.until("ended")
            run.send(shim.kill())
            run.until("over")
            left += pids_with_argument(marker)
            assert run.forget() == 0

    assert left == []


@pytest.mark.parametrize("way", ["has many children", "is deep"])
def test_a_large_tree_is_ended_too(way: str, escapes: Path, tmp_path: Path) -> None:
    marker = f"marker-{os.getpid()}-large"
    with OneShim(tmp_path, [str(escapes), way, marker]) as run:
        run.until("running")
        run.send(shim.kill())
        run.until("over")

        assert pids_with_argument(marker) == []


def test_a_signal_reaches_the_whole_tree_and_zombies_are_not_counted(tmp_path: Path) -> None:
    script = "trap 'exit 3' TERM; (true; echo up; exec sleep 600) & wait"
    with OneShim(tmp_path, ["sh", "-c", script]) as run:
        until(lambda: run.output() == b"up\n")

        run.send(shim.signal(1, signal.SIGTERM, tree=True))

        answer = run.answer()
        assert isinstance(answer, shim.Answer)
        assert (answer.sequence, answer.reached) == (1, 2)
        assert os.waitstatus_to_exitcode(run.until("over").status) == 3


def test_a_signal_to_the_leader_reaches_nobody_else(tmp_path: Path) -> None:
    with OneShim(tmp_path, ["sh", "-c", "sleep 600 & echo up; wait"]) as run:
        until(lambda: run.output() == b"up\n")

        run.send(shim.signal(1, signal.SIGTERM, tree=False))

        answer = run.answer()
        assert isinstance(answer, shim.Answer)
        assert answer.reached == 1
        ended = run.until("ended")
        assert (os.WTERMSIG(ended.status), ended.alive) == (signal.SIGTERM, True)


def test_who_lives_is_listed_with_what_the_kernel_would_refuse(tmp_path: Path) -> None:
    with OneShim(tmp_path, ["sleep", "600"]) as run:
        pid = run.until("running").pid

        run.send(shim.members(5))

        answer = run.answer()
        assert isinstance(answer, shim.Members)
        assert (answer.sequence, answer.total) == (5, 1)
        assert [(each.pid, each.error, each.name) for each in answer.members] == [(pid, 0, "sleep")]
