"""Which ends the keeper calls one for want of memory, and how sure it is."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from farspawn_core.cgroup import Cgroup, Home
from farspawn_server.keeper.memory import OomWatch, Rise, group_to_watch, judge
from farspawn_server.task.outcome import OomKill

SECOND = 1_000_000_000
RISE = Rise(after=100 * SECOND, until=101 * SECOND)


@pytest.mark.parametrize(("counted", "told"), [(True, "yes"), (False, "no")])
def test_what_the_runs_own_group_counts_is_certain(counted: bool, told: str) -> None:
    assert judge(counted, [RISE], killed=True, ended_at=101 * SECOND) == told
    assert judge(counted, [], killed=False, ended_at=101 * SECOND) == told


@pytest.mark.parametrize(
    ("killed", "ended_at", "told"),
    [
        (True, 100, "likely"),
        (True, 101, "likely"),  # it was found out with the next look
        (True, 110, "likely"),  # it took a while to die
        (True, 99, "unknown"),  # before
        (True, 112, "unknown"),  # long after
        (False, 101, "unknown"),  # it died of something else, or of us
    ],
)
def test_what_only_the_agents_group_counts_is_likely_for_who_is_killed_then(
    killed: bool, ended_at: int, told: str
) -> None:
    assert judge(None, [RISE], killed=killed, ended_at=ended_at * SECOND) == told


def test_where_nobody_counts_nobody_knows(tmp_path: Path) -> None:
    for group in (None, tmp_path):
        told = OomWatch(group).verdict(None, status=9, struck=False, at=time.time_ns())

        assert told == "unknown"


@pytest.mark.parametrize(
    ("status", "struck", "told"),
    [(9, False, "likely"), (9, True, "unknown"), (15, False, "unknown"), (9 << 8, False, "unknown")],
)
def test_a_count_that_rose_is_found_at_the_end_of_the_leader(
    tmp_path: Path, status: int, struck: bool, told: str
) -> None:
    events = tmp_path / "memory.events"
    events.write_text("oom 0\noom_kill 3\n")
    watch = OomWatch(tmp_path)

    events.write_text("oom 1\noom_kill 4\n")

    assert watch.verdict(None, status=status, struck=struck, at=time.time_ns()) == told


def test_what_was_counted_before_we_looked_is_nobodys(tmp_path: Path) -> None:
    (tmp_path / "memory.events").write_text("oom_kill 3\n")

    told = OomWatch(tmp_path).verdict(None, status=9, struck=False, at=time.time_ns())

    assert told == "unknown"


def test_the_runs_group_is_asked_first(tmp_path: Path) -> None:
    (tmp_path / "memory.events").write_text("oom_kill 1\n")
    group = Cgroup(tmp_path / "run")
    (tmp_path / "run" / "memory.events").write_text("oom_kill 0\n")

    assert OomWatch(tmp_path).verdict(group, status=9, struck=False, at=time.time_ns()) == "no"


def test_the_group_that_is_watched_holds_all_runs() -> None:
    assert group_to_watch(Home(Path("/sys/fs/cgroup/unit/farspawn"))) == Path("/sys/fs/cgroup/unit")


def test_each_verdict_is_one_that_the_server_knows_and_any_other_is_read_as_unknown() -> None:
    assert [OomKill(each).name for each in ("yes", "no", "likely")] == ["YES", "NO", "LIKELY"]
    assert OomKill("unknown") is OomKill("perhaps") is OomKill.UNKNOWN
