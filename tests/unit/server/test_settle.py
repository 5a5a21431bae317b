"""What the keeper knows, and what a task becomes by it."""

from __future__ import annotations

import signal
from dataclasses import replace

import pytest
from support.values import MOMENT, SECOND, a_stop, a_task, in_state

from farspawn_server.keeper import messages
from farspawn_server.keeper.messages import Ended, Failure, Holding
from farspawn_server.supervisor.settle import is_remembered, settled
from farspawn_server.task.life import Task
from farspawn_server.task.outcome import Cause, CleanupOutcome, Outputs, State
from farspawn_server.task.spec import Cleanup, RestartMode, RestartPolicy

RUNS = Holding("uid-1/1", pid=7, started_at=5 * SECOND, started_monotonic=3 * SECOND)
LEADER_ENDED = replace(RUNS, ended=Ended(MOMENT.wall, code=3))
ENDED = replace(LEADER_ENDED, alive=False)


def known(written: list[int], lost: list[int], error_number: int = 0) -> messages.Outputs:
    return messages.Outputs(written, lost, error_number)


def test_a_task_runs_since_its_shim_started_it_and_not_since_we_heard_of_it() -> None:
    task = settled(a_task(), RUNS, MOMENT)

    assert (task.state, task.pid, task.times.started, task.running_since) == (State.RUNNING, 7, 5 * SECOND, 3 * SECOND)


def test_that_it_runs_is_remembered_by_its_shim_and_its_end_is_to_be_stored() -> None:
    starting, running = a_task(), in_state(State.RUNNING)

    assert is_remembered(starting, settled(starting, RUNS, MOMENT))
    assert is_remembered(running, settled(running, replace(RUNS, outputs=known([0, 0], [0, 0], 28)), MOMENT))
    assert not is_remembered(running, settled(running, LEADER_ENDED, MOMENT))
    assert not is_remembered(running, settled(running, ENDED, MOMENT))
    assert not is_remembered(starting, settled(starting, ENDED, MOMENT))
    failed = settled(starting, Holding("uid-1/1", failure=Failure(2, "program", "/no"), alive=False), MOMENT)
    assert not is_remembered(starting, failed)
    restarting = in_state(State.RUNNING, restart=RestartPolicy(RestartMode.ALWAYS))
    assert not is_remembered(restarting, settled(restarting, ENDED, MOMENT))


def test_what_a_leader_leaves_behind_is_stopped_by_the_tasks_plan() -> None:
    task = settled(in_state(State.RUNNING), LEADER_ENDED, MOMENT)

    assert task.stop is not None
    assert (task.state, task.stop.signal, task.stop.cause) == (State.STOPPING, 15, Cause.COMPLETED)
    assert settled(task, ENDED, MOMENT).state is State.EXITED


@pytest.mark.parametrize("alive", [True, False])
def test_an_exit_that_the_shim_had_told_before_it_was_killed_stays_true(*, alive: bool) -> None:
    task = settled(in_state(State.RUNNING), replace(LEADER_ENDED, lost=True, alive=alive), MOMENT)

    assert task.leader is not None
    assert task.leader.code == 3
    assert task.state is (State.STOPPING if alive else State.EXITED)


def test_a_task_whose_shim_was_killed_is_lost_once_nothing_of_it_lives() -> None:
    being_killed = settled(in_state(State.RUNNING), replace(RUNS, lost=True), MOMENT)
    task = settled(being_killed, replace(RUNS, lost=True, alive=False), MOMENT)

    assert (being_killed.state, being_killed.times.killed) == (State.STOPPING, MOMENT.wall)
    assert being_killed.times.leader_exited is None
    assert settled(being_killed, replace(RUNS, lost=True), MOMENT) is being_killed
    assert task.outcome is not None
    assert (task.state, task.outcome.cause) == (State.LOST, Cause.SUPERVISION_LOST)
    assert "shim" in task.outcome.message


@pytest.mark.parametrize("told", [None, known([30, 0], [3, 0])])
def test_what_a_killed_shim_had_not_written_yet_nobody_knows(told: messages.Outputs | None) -> None:
    task = settled(in_state(State.RUNNING), replace(ENDED, lost=True, outputs=told), MOMENT)

    assert (task.state, task.outputs) == (State.EXITED, Outputs(cut_off=True))


def test_a_task_whose_shim_was_killed_before_it_told_of_a_leader_is_lost() -> None:
    lost = settled(a_task(), Holding("uid-1/1", lost=True, alive=False), MOMENT)

    assert (lost.state, lost.pid, lost.times.started) == (State.LOST, 0, None)


def test_who_was_killed_because_the_owner_asked_twice_did_not_end_by_itself() -> None:
    killed = replace(ENDED, ended=Ended(MOMENT.wall, signal=signal.SIGKILL), shut_down=True)

    task = settled(in_state(State.RUNNING), killed, MOMENT)

    assert task.outcome is not None
    assert (task.state, task.outcome.cause) == (State.EXITED, Cause.SITE_SHUTDOWN)


def test_that_output_waits_is_told_once_and_that_it_does_no_more() -> None:
    running = in_state(State.RUNNING)

    waits = settled(running, replace(RUNS, outputs=known([10, 0], [0, 0], 28)), MOMENT)
    still = settled(waits, replace(RUNS, outputs=known([20, 0], [0, 0], 28)), MOMENT)
    goes_on = settled(waits, replace(RUNS, outputs=known([30, 0], [0, 0])), MOMENT)

    assert settled(running, replace(RUNS, outputs=known([10, 0], [0, 0])), MOMENT) is running
    assert waits.outputs == Outputs(error_number=28)
    assert still is waits
    assert goes_on.outputs == Outputs()


def test_what_became_of_its_output_is_recorded_with_the_end_of_an_attempt() -> None:
    ended = replace(ENDED, outputs=known([10, 5], [1 << 40, 0], 28))

    task = settled(in_state(State.RUNNING), ended, MOMENT)
    attempt = settled(in_state(State.RUNNING, restart=RestartPolicy(RestartMode.ALWAYS)), ended, MOMENT)

    assert task.outputs == Outputs((10, 5), (1 << 40, 0), 28)
    assert [each.outputs for each in attempt.earlier] == [task.outputs]
    assert attempt.next_attempt("boot-1").outputs is None
    stopped = attempt.stopping(a_stop(), MOMENT)
    assert (stopped.state, stopped.outputs) == (State.EXITED, task.outputs)


def cleaning() -> Task:
    ended = replace(ENDED, outputs=known([10, 0], [2, 1]))
    return settled(in_state(State.RUNNING, cleanup=Cleanup(("true",))), ended, MOMENT)


def test_a_cleanup_adds_to_the_output_of_its_attempt() -> None:
    ran = Holding(
        "uid-1/1/cleanup", pid=8, ended=Ended(MOMENT.wall, code=0), alive=False, outputs=known([30, 0], [3, 0])
    )

    task = settled(cleaning(), ran, MOMENT)

    assert task.outcome is not None
    assert task.outcome.cleanup == CleanupOutcome(code=0)
    assert task.outputs == Outputs((30, 0), (5, 1))


def test_of_a_cleanup_whose_shim_was_killed_nobody_knows_how_it_ended() -> None:
    task = settled(cleaning(), Holding("uid-1/1/cleanup", pid=8, lost=True, alive=False), MOMENT)

    assert task.outcome is not None
    assert (task.state, task.outcome.cleanup) == (State.EXITED, CleanupOutcome())
    assert settled(cleaning(), Holding("uid-1/1/cleanup", pid=8, lost=True), MOMENT).state is State.STOPPING
