"""A shim is killed, which is what a task of the agent's own user can do to itself: it costs that task's exit alone.

When that happens, and whose child the shim is by then, makes no difference: what it ran is ended, and what the server
had not stored yet is LOST, with a cause of its own. What was stored, or told to a keeper that lives, stays true.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from acceptance.failpoints.cell import CLEANUP_LOST, COMPLETED, LOST, Actor, Cell, cell
from support.evidence import CLEANS_UP_WITH_6, LEAVES_A_STUBBORN_CHILD_WITH_3, WAITS, WAITS_BESIDE_A_CHILD
from support.hanging import hung_program
from support.tasks import plan, shell
from support.waiting import until

from farspawn.v1 import task_pb2
from farspawn_core import proc

_Strike = Callable[[], None]


def under_its_keeper(_: Cell, strike: _Strike) -> None:
    strike()


def just_before_its_keeper(cell: Cell, strike: _Strike) -> None:
    strike()
    killed_at = time.time_ns()
    cell.agent.kill_keeper_only()
    cell.agent.until_back(killed_at)


def between_two_keepers(cell: Cell, strike: _Strike) -> None:
    with cell.agent.down():
        strike()


def under_the_next_keeper(cell: Cell, strike: _Strike) -> None:
    killed_at = time.time_ns()
    cell.agent.kill_keeper_only()
    cell.agent.until_back(killed_at)
    strike()


WHEN = [under_its_keeper, just_before_its_keeper, between_two_keepers, under_the_next_keeper]


@pytest.fixture
def crash() -> Iterator[Cell]:
    with cell() as made:
        yield made


@pytest.mark.parametrize("when", WHEN)
def test_of_what_is_starting(crash: Cell, when: Callable[[Cell, _Strike], None], tmp_path: Path) -> None:
    with hung_program(tmp_path / "hung") as program:
        starting = Actor(task_id="starting", argv=[program.path], endings=[LOST])
        crash.launch(starting)
        program.until_executing()

        when(crash, partial(crash.signal_shim, starting))

        _check(crash, starting)


@pytest.mark.parametrize("when", WHEN)
def test_of_what_runs(crash: Cell, when: Callable[[Cell, _Strike], None]) -> None:
    running = Actor(task_id="running", argv=shell(WAITS_BESIDE_A_CHILD), endings=[LOST], cleanup=CLEANS_UP_WITH_6)
    crash.launch(running)
    crash.until_started(running)

    when(crash, partial(crash.signal_shim, running))

    _check(crash, running)


@pytest.mark.parametrize("when", WHEN)
def test_of_what_has_left_a_child(crash: Cell, when: Callable[[Cell, _Strike], None]) -> None:
    left = Actor(
        task_id="left",
        argv=shell(LEAVES_A_STUBBORN_CHILD_WITH_3),
        endings=[("exit_code", 3, COMPLETED)],
        stop=plan(grace=60),
    )
    crash.launch(left)
    crash.until_started(left)
    crash.scene.let_one_pass(left.task_id)
    until(lambda: crash.poll(left.task_id).times.HasField("leader_exited"))

    when(crash, partial(crash.signal_shim, left))

    _check(crash, left)


def test_of_what_has_ended_and_was_told_to_a_keeper_that_lives(crash: Cell) -> None:
    ended = Actor(task_id="ended", argv=shell(WAITS), endings=[("exit_code", 5, COMPLETED)])
    crash.launch(ended)
    crash.until_started(ended)

    with _stopped(crash.agent.server_pid):
        _end(crash, ended)
        crash.signal_shim(ended)

    _check(crash, ended)


def test_of_what_has_ended_while_nobody_was_there(crash: Cell) -> None:
    ended = Actor(task_id="ended", argv=shell(WAITS), endings=[LOST])
    crash.launch(ended)
    crash.until_started(ended)

    with crash.agent.down():
        _end(crash, ended)
        crash.signal_shim(ended)

    _check(crash, ended)


@pytest.mark.parametrize("when", WHEN)
def test_of_what_cleans_up(crash: Cell, when: Callable[[Cell, _Strike], None]) -> None:
    tidy = Actor(
        task_id="tidy",
        argv=shell(WAITS),
        endings=[("exit_code", 5, COMPLETED)],
        cleanup=CLEANS_UP_WITH_6,
        cleaned_up=CLEANUP_LOST,
    )
    crash.launch(tidy)
    crash.until_started(tidy)
    crash.scene.let_one_pass(tidy.task_id)
    until(crash.scene.cleaned)

    when(crash, partial(crash.signal_shim, tidy, run="/cleanup"))

    _check(crash, tidy)


@pytest.mark.parametrize("when", WHEN)
def test_one_that_is_stopped_is_continued(crash: Cell, when: Callable[[Cell, _Strike], None]) -> None:
    """The recorder sees to it that nobody is told less of the task meanwhile than before."""
    running = Actor(task_id="running", argv=shell(WAITS), endings=[("exit_code", 5, COMPLETED)])
    crash.launch(running)
    crash.until_started(running)

    when(crash, partial(crash.signal_shim, running, signal.SIGSTOP))
    told = crash.poll(running.task_id)

    assert told.state == task_pb2.TASK_STATE_RUNNING
    _check(crash, running)


def _check(crash: Cell, victim: Actor) -> None:
    if LOST in victim.endings and not victim.cleanup:
        crash.until_ended(victim)
    crash.check_living()
    crash.scene.open_gates()
    crash.until_ended(*crash.actors.values())
    crash.check_ended()


def _end(crash: Cell, actor: Actor) -> None:
    """Let a task end, and wait until its shim has said so to whoever listens."""
    holder = crash.shim_of(actor)
    crash.scene.let_one_pass(actor.task_id)
    until(lambda: not proc.children(holder.pid) and (now := proc.read(holder.pid)) is not None and now.state == "S")


@contextmanager
def _stopped(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)
