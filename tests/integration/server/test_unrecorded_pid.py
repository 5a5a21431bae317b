"""A keeper killed before the server has stored a pid: the next one takes nobody else for the leader."""

from __future__ import annotations

import os
import signal
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.agent import plain_environment
from support.crash import kernel_tells_strangers_exits
from support.hanging import HungProgram, hung_program
from support.keeper import ServedKeeper
from support.processes import is_alive
from support.waiting import until

from farspawn_core import proc
from farspawn_server.keeper.messages import Adopt, Confinement

TASK = uuid.uuid4().hex  # of this run alone: others may run beside it
UID = f"{TASK}/1"
UNKNOWN = Adopt(UID, 0, 0, 0)

# The leader waits to be let go, and ends with 1. The child in a session of its own carries its cookie, and ends with 0.
LEADER = """
    setsid sh -c 'echo $$ > child; until test -e child-may-end; do sleep 0.01; done' &
    until test -e leader-may-end; do sleep 0.01; done
    exit 1
"""


@pytest.fixture
def killed(tmp_path: Path) -> Iterator[ServedKeeper]:
    """A keeper that has started LEADER and was killed; its directory is where that runs."""
    with in_the_end_nobody_is_left():
        keeper = ServedKeeper(tmp_path)
        keeper.spawn(UID, ["sh", "-c", LEADER], cwd=str(tmp_path))
        keeper.until_started(UID)
        until(lambda: (tmp_path / "child").exists() and (tmp_path / "child").read_text())
        keeper.kill()
        yield keeper


@contextmanager
def in_the_end_nobody_is_left() -> Iterator[None]:
    try:
        yield
    finally:
        for pid in proc.everything():
            if proc.environment_value(pid, "FARSPAWN_TASK_UID") == TASK and (process := proc.read(pid)):
                proc.send(process, signal.SIGKILL)


def leader_ends(directory: Path, leader: int) -> None:
    (directory / "leader-may-end").touch()
    until(lambda: (process := proc.read(leader)) is None or not process.alive)


def test_the_leader_is_known_by_what_the_dead_keeper_noted(killed: ServedKeeper) -> None:
    leader = killed.told[UID]

    with ServedKeeper(killed.directory) as keeper:
        keeper.order(UNKNOWN)
        adopted = keeper.until_started(UID)
        leader_ends(killed.directory, leader.pid)
        over = keeper.until_over(UID)

    assert (adopted.pid, adopted.start_time) == (leader.pid, leader.start_time)
    assert over.ended is not None
    assert over.ended.code == (1 if kernel_tells_strangers_exits() else None)


def test_a_child_is_not_taken_for_a_leader_that_has_ended(killed: ServedKeeper) -> None:
    leader_ends(killed.directory, killed.told[UID].pid)

    with ServedKeeper(killed.directory) as keeper:
        keeper.order(UNKNOWN)
        over = keeper.until_over(UID)

    assert over.pid == 0
    assert over.left
    assert over.ended is not None
    assert over.ended.code is over.ended.signal is None


def test_the_owner_of_a_reused_pid_is_not_taken_for_the_leader(killed: ServedKeeper) -> None:
    """Also if it was started before the leader: in a container of its own, a leader may have any number."""
    leader = killed.told[UID]
    leader_ends(killed.directory, leader.pid)
    (killed.directory / "keeper.pids").write_text(f"\n{UID} {os.getpid()} {leader.start_time} .")

    with ServedKeeper(killed.directory) as keeper:
        keeper.order(UNKNOWN)
        over = keeper.until_over(UID)

    assert over.pid == 0


def test_a_guess_is_watched_and_its_exit_told_to_nobody(killed: ServedKeeper) -> None:
    """Also by the keepers that come after, to which the server tells the guess as a fact."""
    child = int((killed.directory / "child").read_text())
    (killed.directory / "keeper.pids").unlink()
    leader_ends(killed.directory, killed.told[UID].pid)

    with ServedKeeper(killed.directory) as keeper:
        keeper.order(UNKNOWN)
        guessed = keeper.until_started(UID)
        assert guessed.pid == child
        keeper.reload()
        assert keeper.until(UID, lambda holding: holding.pid).ended is None
        keeper.kill()
        with ServedKeeper(killed.directory) as last:
            last.order(Adopt(UID, guessed.pid, guessed.start_time, guessed.started_at, guessed.guessed))
            last.until_started(UID)
            (killed.directory / "child-may-end").touch()
            over = last.until_over(UID)

    assert over.ended is not None
    assert over.ended.code is over.ended.signal is None


def test_a_start_that_hangs_when_its_keeper_is_killed_never_runs(tmp_path: Path) -> None:
    with in_the_end_nobody_is_left(), hung_program(tmp_path / "hung") as program:
        hanging = start_hanging_and_kill_the_keeper(tmp_path, program)

        with ServedKeeper(tmp_path) as keeper:
            keeper.order(UNKNOWN)
            over = keeper.until_over(UID)
            program.let_go()
            until(lambda: not is_alive(*hanging.key))
            assert "start without a keeper ended" in keeper.log

    assert over.pid == 0


def test_it_is_found_by_whatever_name_its_state_directory_has_now(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "link").symlink_to("state")
    with in_the_end_nobody_is_left(), hung_program(tmp_path / "hung") as program:
        hanging = start_hanging_and_kill_the_keeper(tmp_path / "state", program)

        with ServedKeeper(tmp_path / "link"):
            until(lambda: not is_alive(*hanging.key))


@pytest.mark.skipif(os.getuid() != 0, reason="only root may mount something over a state directory")
def test_an_agent_within_a_task_is_not_taken_for_a_start(tmp_path: Path) -> None:
    """Not even one that shows the same state directory, which is another one where it runs."""
    inner = f"mount -t tmpfs none {tmp_path} && echo >&2 mounted && exec {sys.executable} -P -m farspawn_server.keeper"
    argv = ["unshare", "--mount", "sh", "-c", f"{inner} {tmp_path} sleep 1000"]
    with in_the_end_nobody_is_left():
        outer = ServedKeeper(tmp_path)
        outer.spawn(UID, argv, env={**plain_environment(), "FARSPAWN_TASK_UID": TASK})
        task = outer.until_started(UID)
        until(lambda: "server started" in outer.output(UID).read_text())
        outer.kill()

        with ServedKeeper(tmp_path) as again:
            again.order(Adopt(UID, task.pid, task.start_time, task.started_at))
            again.until_started(UID)
            assert is_alive(task.pid, task.start_time)
            assert "start without a keeper ended" not in again.log


def test_a_confined_start_that_hangs_when_its_keeper_is_killed_is_adopted(tmp_path: Path) -> None:
    with in_the_end_nobody_is_left(), hung_program(tmp_path / "hung") as program:
        hanging = start_hanging_and_kill_the_keeper(tmp_path, program, Confinement(niceness=1))

        with ServedKeeper(tmp_path) as keeper:
            keeper.order(UNKNOWN)
            adopted = keeper.until_started(UID)
            program.let_go()
            over = keeper.until_over(UID)

    assert adopted.pid == hanging.pid
    assert over.ended is not None
    assert over.ended.code == (0 if kernel_tells_strangers_exits() else None)


def start_hanging_and_kill_the_keeper(
    directory: Path, program: HungProgram, imposed: Confinement | None = None
) -> proc.Process:
    killed = ServedKeeper(directory)
    killed.spawn(UID, [program.path], imposed)
    program.until_executing()
    (hanging,) = (process for pid in killed.children() if (process := proc.read(pid)))
    killed.kill()
    assert is_alive(*hanging.key)
    return hanging
