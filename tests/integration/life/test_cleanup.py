"""A cleanup command runs once after each attempt that had a process, is told how it ended, and hides nothing of it."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from support.agent import AT_ONCE, Agent, until_ended
from support.specs import ALWAYS, cleanup, output_of_attempt, restart, start
from support.tasks import output, shell, span, status_of, stop
from support.waiting import until

from farspawn.v1 import task_pb2

STOPPING = task_pb2.TASK_STATE_STOPPING

TELLS_WHAT_IT_KNOWS = shell(
    'echo "$FARSPAWN_STATE $FARSPAWN_CAUSE ${FARSPAWN_EXIT_CODE-unset} ${FARSPAWN_EXIT_SIGNAL-unset}"'
)
LEAVES_A_MARK = shell("echo $FARSPAWN_ATTEMPT >>mark")
# Ends with 4 as soon as a file `go` is there.
WAITS_FOR_LEAVE = shell("echo $FARSPAWN_ATTEMPT >>mark; while [ ! -e go ]; do sleep 0.02; done; exit 4")


def marks(directory: Path) -> list[str]:
    path = directory / "mark"
    return path.read_text().split() if path.exists() else []


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (["true"], b"EXITED COMPLETED 0 unset\n"),
        (shell("exit 7"), b"EXITED COMPLETED 7 unset\n"),
        (shell("kill -USR1 $$"), b"EXITED COMPLETED unset 10\n"),
    ],
)
def test_it_is_told_how_the_task_ended(agent: Agent, command: list[str], told: bytes) -> None:
    task = start(agent.stub, task_pb2.TaskSpec(argv=command, cleanup=cleanup(TELLS_WHAT_IT_KNOWS)))

    until_ended(agent.stub, task.task_id)

    assert output(agent.stub, task.task_id) == told


def test_it_is_told_who_ended_the_task(agent: Agent) -> None:
    stopped = start(agent.stub, task_pb2.TaskSpec(argv=["sleep", "60"], cleanup=cleanup(TELLS_WHAT_IT_KNOWS)))
    spec = task_pb2.TaskSpec(argv=["sleep", "60"], cleanup=cleanup(TELLS_WHAT_IT_KNOWS), max_runtime=span(0.1))
    late = start(agent.stub, spec)

    stop(agent.stub, stopped.task_id, AT_ONCE)
    for task in (stopped, late):
        until_ended(agent.stub, task.task_id)

    assert output(agent.stub, stopped.task_id) == b"EXITED STOP_REQUESTED unset 9\n"
    assert output(agent.stub, late.task_id) == b"EXITED MAX_RUNTIME unset 15\n"


def test_it_has_the_tasks_environment_and_directory_and_an_empty_input(agent: Agent, tmp_path: Path) -> None:
    says = shell('cat; echo "$OWN $FARSPAWN_TASK_ID $FARSPAWN_TASK_UID $FARSPAWN_ATTEMPT $PWD"')
    spec = task_pb2.TaskSpec(
        argv=["true"], env={"OWN": "mine"}, working_directory=str(tmp_path), open_input=True, cleanup=cleanup(says)
    )

    ended = until_ended(agent.stub, start(agent.stub, spec).task_id)

    assert output(agent.stub, ended.task_id).decode() == f"mine {ended.task_id} {ended.uid} 1 {tmp_path}\n"


def test_what_it_writes_follows_what_the_task_wrote(agent: Agent) -> None:
    task = start(agent.stub, task_pb2.TaskSpec(argv=["echo", "task"], cleanup=cleanup(["echo", "cleanup"])))

    until_ended(agent.stub, task.task_id)

    assert output(agent.stub, task.task_id) == b"task\ncleanup\n"


def test_its_end_does_not_hide_the_tasks(agent: Agent) -> None:
    task = start(agent.stub, task_pb2.TaskSpec(argv=shell("exit 7"), cleanup=cleanup(shell("exit 3"))))

    outcome = until_ended(agent.stub, task.task_id).outcome

    assert (outcome.exit_code, outcome.cleanup.exit_code) == (7, 3)
    assert outcome.cause == task_pb2.CAUSE_COMPLETED
    assert not outcome.cleanup.timed_out


def test_a_task_without_one_says_nothing_of_one(agent: Agent) -> None:
    task = start(agent.stub, task_pb2.TaskSpec(argv=["true"]))

    assert not until_ended(agent.stub, task.task_id).outcome.HasField("cleanup")


def test_one_that_takes_too_long_is_killed_with_all_it_started(agent: Agent) -> None:
    spec = task_pb2.TaskSpec(argv=["true"], cleanup=cleanup(shell("trap '' TERM; setsid sleep 60 & sleep 60"), 0.3))

    outcome = until_ended(agent.stub, start(agent.stub, spec).task_id).outcome

    assert outcome.exit_code == 0
    assert outcome.cleanup.signal == signal.SIGKILL
    assert outcome.cleanup.timed_out
    assert agent.task_processes() == []


def test_one_that_a_signal_ended_was_not_timed_out(agent: Agent) -> None:
    task = start(agent.stub, task_pb2.TaskSpec(argv=["true"], cleanup=cleanup(shell("kill -9 $$"))))

    outcome = until_ended(agent.stub, task.task_id).outcome

    assert outcome.cleanup.signal == signal.SIGKILL
    assert not outcome.cleanup.timed_out


def test_one_that_cannot_be_started_says_why(agent: Agent) -> None:
    task = start(agent.stub, task_pb2.TaskSpec(argv=shell("exit 7"), cleanup=cleanup(["/nothing/of/this/name"])))

    outcome = until_ended(agent.stub, task.task_id).outcome

    assert outcome.exit_code == 7
    assert outcome.cleanup.WhichOneof("ending") == "launch_failure"
    assert outcome.cleanup.launch_failure.error_name == "ENOENT"
    assert outcome.cleanup.launch_failure.phase == task_pb2.LAUNCH_PHASE_PROGRAM
    assert not outcome.HasField("launch_failure")


def test_what_it_leaves_behind_is_killed(agent: Agent) -> None:
    spec = task_pb2.TaskSpec(argv=["true"], cleanup=cleanup(shell("setsid sleep 60 & exit 0")))

    outcome = until_ended(agent.stub, start(agent.stub, spec).task_id).outcome

    assert outcome.cleanup.exit_code == 0
    assert agent.task_processes() == []


def test_it_runs_when_nothing_of_the_attempt_is_left(agent: Agent, tmp_path: Path) -> None:
    leaves_a_child = shell("setsid sleep 60 & echo $! >child; exit 0")
    looks_for_it = shell('grep -q "^State:.[^Z]" /proc/$(cat child)/status 2>/dev/null && echo alive || echo gone')
    spec = task_pb2.TaskSpec(argv=leaves_a_child, working_directory=str(tmp_path), cleanup=cleanup(looks_for_it))

    task = start(agent.stub, spec)
    until_ended(agent.stub, task.task_id)

    assert output(agent.stub, task.task_id) == b"gone\n"


def test_it_does_not_run_for_a_task_that_never_started(agent: Agent, tmp_path: Path) -> None:
    spec = task_pb2.TaskSpec(argv=["/nothing"], working_directory=str(tmp_path), cleanup=cleanup(LEAVES_A_MARK))

    ended = until_ended(agent.stub, start(agent.stub, spec).task_id)

    assert ended.state == task_pb2.TASK_STATE_FAILED
    assert not ended.outcome.HasField("cleanup")
    assert marks(tmp_path) == []


def test_it_runs_once_after_each_attempt(agent: Agent, tmp_path: Path) -> None:
    spec = task_pb2.TaskSpec(
        argv=shell("exit $FARSPAWN_ATTEMPT"),
        working_directory=str(tmp_path),
        restart=restart(ALWAYS, most=2),
        cleanup=cleanup(shell("echo $FARSPAWN_ATTEMPT >>mark; echo $FARSPAWN_EXIT_CODE; exit 1$FARSPAWN_ATTEMPT")),
    )

    ended = until_ended(agent.stub, start(agent.stub, spec).task_id)

    assert marks(tmp_path) == ["1", "2", "3"]
    outcomes = [*(each.outcome for each in ended.earlier_attempts), ended.outcome]
    assert [(each.exit_code, each.cleanup.exit_code) for each in outcomes] == [(1, 11), (2, 12), (3, 13)]
    assert [output_of_attempt(agent.stub, ended.task_id, number) for number in (1, 2, 3)] == [b"1\n", b"2\n", b"3\n"]


def test_a_task_is_stopping_while_it_runs_and_a_stop_neither_hurries_nor_repeats_it(
    agent: Agent, tmp_path: Path
) -> None:
    spec = task_pb2.TaskSpec(argv=shell("exit 7"), working_directory=str(tmp_path), cleanup=cleanup(WAITS_FOR_LEAVE))
    task = start(agent.stub, spec)
    until(lambda: marks(tmp_path))

    stopped = stop(agent.stub, task.task_id, AT_ONCE)
    (tmp_path / "go").touch()
    ended = until_ended(agent.stub, task.task_id)

    assert stopped.state == STOPPING
    assert ended.outcome.exit_code == 7
    assert ended.outcome.cause == task_pb2.CAUSE_COMPLETED
    assert ended.outcome.cleanup.exit_code == 4
    assert marks(tmp_path) == ["1"]


def test_a_stop_while_it_runs_ends_all_restarts(agent: Agent, tmp_path: Path) -> None:
    spec = task_pb2.TaskSpec(
        argv=shell("exit 7"),
        working_directory=str(tmp_path),
        cleanup=cleanup(WAITS_FOR_LEAVE),
        restart=restart(ALWAYS),
    )
    task = start(agent.stub, spec)
    until(lambda: marks(tmp_path))

    stop(agent.stub, task.task_id)
    (tmp_path / "go").touch()
    ended = until_ended(agent.stub, task.task_id)

    assert ended.attempt == 1
    assert ended.outcome.cleanup.exit_code == 4


def test_one_that_runs_while_the_server_is_killed_is_not_repeated_and_its_end_is_known(
    own_agent: Agent, tmp_path: Path
) -> None:
    spec = task_pb2.TaskSpec(argv=shell("exit 7"), working_directory=str(tmp_path), cleanup=cleanup(WAITS_FOR_LEAVE))
    task = start(own_agent.stub, spec)
    until(lambda: marks(tmp_path))

    own_agent.kill_server()
    assert status_of(own_agent.stub, task.task_id).state == STOPPING
    (tmp_path / "go").touch()
    ended = until_ended(own_agent.stub, task.task_id)

    assert (ended.outcome.exit_code, ended.outcome.cleanup.exit_code) == (7, 4)
    assert marks(tmp_path) == ["1"]


def test_one_that_ends_while_no_server_runs_is_known_and_not_repeated(own_agent: Agent, tmp_path: Path) -> None:
    spec = task_pb2.TaskSpec(argv=shell("exit 7"), working_directory=str(tmp_path), cleanup=cleanup(WAITS_FOR_LEAVE))
    task = start(own_agent.stub, spec)
    until(lambda: marks(tmp_path))
    os.kill(own_agent.server_pid, signal.SIGSTOP)
    (tmp_path / "go").touch()
    until(lambda: own_agent.task_processes() == [])

    own_agent.kill_server()
    ended = until_ended(own_agent.stub, task.task_id)

    assert (ended.outcome.exit_code, ended.outcome.cleanup.exit_code) == (7, 4)
    assert marks(tmp_path) == ["1"]


def test_its_timeout_goes_on_while_no_server_runs(own_agent: Agent, tmp_path: Path) -> None:
    command = cleanup(WAITS_FOR_LEAVE, timeout=2)
    task = start(own_agent.stub, task_pb2.TaskSpec(argv=["true"], working_directory=str(tmp_path), cleanup=command))
    until(lambda: marks(tmp_path))

    own_agent.kill_server()
    ended = until_ended(own_agent.stub, task.task_id)

    assert ended.outcome.cleanup.timed_out
    assert ended.outcome.exit_code == 0
