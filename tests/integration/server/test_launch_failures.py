"""A program that cannot be started: the call is OK, the task is FAILED, and its outcome says why."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from support.agent import Agent, until_ended
from support.tasks import launch, output

from farspawn.v1 import task_pb2

PROGRAM = task_pb2.LAUNCH_PHASE_PROGRAM
SPAWN = task_pb2.LAUNCH_PHASE_SPAWN
DIRECTORY = task_pb2.LAUNCH_PHASE_WORKING_DIRECTORY


def failure(agent: Agent, argv: list[str], cwd: str = "") -> tuple[str, task_pb2.LaunchPhase.ValueType, str]:
    """Launch what cannot be started, and return name of the error, phase and path."""
    status = until_ended(agent.stub, launch(agent.stub, argv, cwd=cwd).status.task_id)
    assert status.state == task_pb2.TASK_STATE_FAILED
    assert status.outcome.cause == task_pb2.CAUSE_LAUNCH_FAILED
    why = status.outcome.launch_failure
    assert errno.errorcode[why.error_number] == why.error_name
    return why.error_name, why.phase, why.path


def test_a_program_that_is_missing(agent: Agent) -> None:
    assert failure(agent, ["/no/such/program"]) == ("ENOENT", PROGRAM, "/no/such/program")


def test_a_program_that_is_not_in_the_path(agent: Agent) -> None:
    assert failure(agent, ["no-such-program"]) == ("ENOENT", PROGRAM, "no-such-program")


def test_a_program_that_is_not_executable(agent: Agent) -> None:
    assert failure(agent, ["/etc/passwd"]) == ("EACCES", PROGRAM, "/etc/passwd")


def test_a_directory_as_a_program(agent: Agent) -> None:
    assert failure(agent, ["/usr"]) == ("EACCES", PROGRAM, "/usr")


def test_a_fifo_as_a_program_fails_and_does_not_hang(agent: Agent, tmp_path: Path) -> None:
    fifo = str(tmp_path / "fifo")
    os.mkfifo(fifo, 0o755)

    assert failure(agent, [fifo]) == ("EACCES", PROGRAM, fifo)


def test_a_file_that_is_no_program(agent: Agent, tmp_path: Path) -> None:
    file = tmp_path / "noise"
    file.write_bytes(b"\x00\x01\x02")
    file.chmod(0o755)

    assert failure(agent, [str(file)]) == ("ENOEXEC", SPAWN, str(file))


def test_a_script_whose_interpreter_is_missing(agent: Agent, tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("#!/no/such/interpreter\n")
    script.chmod(0o755)

    assert failure(agent, [str(script)]) == ("ENOENT", SPAWN, str(script))


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/no/such/directory", "ENOENT"),
        ("/etc/passwd", "ENOTDIR"),
        ("/" + "x" * 300, "ENAMETOOLONG"),
        ("/x" * 2048, "ENAMETOOLONG"),
    ],
)
def test_a_working_directory_that_cannot_be_entered(agent: Agent, path: str, name: str) -> None:
    assert failure(agent, ["true"], cwd=path) == (name, DIRECTORY, path)


def test_a_failed_task_has_no_exit_no_usage_and_no_process(agent: Agent) -> None:
    status = until_ended(agent.stub, launch(agent.stub, ["/no/such/program"]).status.task_id)

    assert status.outcome.WhichOneof("ending") is None
    assert not status.outcome.HasField("usage")
    assert status.outcome.oom_kill == task_pb2.OOM_KILL_UNSPECIFIED
    assert status.pid == 0
    assert not status.times.HasField("started")
    assert not status.times.HasField("leader_exited")
    assert status.times.HasField("ended")


def test_the_output_of_a_failed_task_is_empty_and_complete(agent: Agent) -> None:
    task = launch(agent.stub, ["/no/such/program"])

    assert output(agent.stub, task.status.task_id) == b""
