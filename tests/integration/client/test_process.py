"""A task as something that feels like Popen, on a real agent."""

from __future__ import annotations

import errno
import signal
from datetime import timedelta
from pathlib import Path

import pytest
from support.tasks import new_id, shell

import farspawn
from farspawn import (
    Cleanup,
    InputClosedError,
    LaunchFailedError,
    LaunchPhase,
    NotReadyError,
    Readiness,
    RestartMode,
    RestartPolicy,
    TaskNotRunningError,
    TaskState,
    WaitTimeoutError,
)

NO_TIME = timedelta(milliseconds=50)
AT_ONCE = timedelta(milliseconds=10)


def output(process: farspawn.Process, stream: farspawn.LogStream = farspawn.LogStream.STDOUT) -> bytes:
    return b"".join(chunk.data for chunk in process.logs(stream, follow=True))


def test_a_task_is_launched_and_its_exit_code_is_waited_for(site: farspawn.Client) -> None:
    process = site.launch(shell("echo out; echo err >&2; exit 3"), env={"A": "1"}, labels={"kind": "test"})

    assert process.wait() == 3
    assert (process.poll(), process.returncode, process.created) == (3, 3, True)
    assert (output(process), output(process, farspawn.LogStream.STDERR)) == (b"out\n", b"err\n")


def test_a_second_launch_of_the_same_is_the_same(site: farspawn.Client) -> None:
    first = site.launch(["true"], task_id=new_id())

    second = site.launch(["true"], task_id=first.task_id)

    assert (second.created, second.wait()) == (False, 0)
    with pytest.raises(farspawn.TaskIdReusedError):
        site.launch(["false"], task_id=first.task_id)


def test_killing_is_told_as_popen_tells_it(site: farspawn.Client) -> None:
    process = site.launch(["sleep", "60"])

    process.kill()

    assert process.wait() == -signal.SIGKILL
    assert process.status is not None
    assert process.status.state is TaskState.EXITED
    process.kill()
    process.send_signal(signal.SIGTERM)


def test_terminating_and_signalling_reach_the_task(site: farspawn.Client) -> None:
    process = site.launch(shell("trap 'exit 7' USR1; echo up; while :; do sleep 0.01; done"))
    next(iter(process.logs(follow=True)))

    process.send_signal(signal.SIGUSR1)

    assert process.wait() == 7
    stopped = site.launch(["sleep", "60"])
    stopped.terminate()
    assert stopped.wait() == -signal.SIGTERM
    with pytest.raises(TaskNotRunningError):
        site.signal(stopped.task_id, signal.SIGTERM)


def test_lines_come_while_the_task_runs(site: farspawn.Client) -> None:
    process = site.launch(shell("echo one; echo two; exec sleep 60"))
    lines = iter(process.logs(follow=True).lines())

    assert [next(lines).data, next(lines).data] == [b"one\n", b"two\n"]
    assert process.poll() is None


def test_a_program_that_is_missing_is_no_exit_code(site: farspawn.Client) -> None:
    process = site.launch(["/no/such/program"])

    with pytest.raises(LaunchFailedError, match="/no/such/program: No such file") as failed:
        process.wait()

    assert (failed.value.errno, failed.value.phase) == (errno.ENOENT, LaunchPhase.PROGRAM)


def test_time_given_to_wait_ends_and_the_task_goes_on(site: farspawn.Client) -> None:
    process = site.launch(["sleep", "60"])

    with pytest.raises(WaitTimeoutError) as over:
        process.wait(NO_TIME)

    assert over.value.task_ids == (process.task_id,)
    assert process.poll() is None


def test_many_are_waited_for_watched_listed_and_deleted(site: farspawn.Client) -> None:
    labels = {"batch": new_id("batch")}
    ids = {site.launch(shell(f"exit {number}"), labels=labels).task_id: number for number in range(4)}

    ended = site.wait_all(ids)

    assert {task_id: status.outcome and status.outcome.exit_code for task_id, status in ended.items()} == ids
    assert {task.status.task_id for task in site.list_tasks(labels=labels)} == set(ids)
    told = set[str]()
    for event in site.watch(labels=labels):
        if isinstance(event, farspawn.Checkpoint):
            break
        assert isinstance(event, farspawn.TaskChanged)
        told.add(event.status.task_id)
    assert told == set(ids)
    for task_id in ids:
        site.delete(task_id)
    assert set(site.poll(ids).unknown_task_ids) == set(ids)


def test_a_site_tells_its_limits(site: farspawn.Client) -> None:
    limits = site.site().limits

    assert min(limits.max_poll_tasks, limits.max_ended_tasks, limits.max_command_bytes) > 0


def test_each_attempt_has_its_own_end_and_output(site: farspawn.Client) -> None:
    process = site.launch(
        shell('echo $FARSPAWN_ATTEMPT; [ "$FARSPAWN_ATTEMPT" = 3 ] || exit 1'),
        restart=RestartPolicy(RestartMode.ON_FAILURE, max_restarts=5, initial_backoff=AT_ONCE),
    )

    assert process.wait() == 0

    status = process.status
    assert status is not None
    assert status.attempt == 3
    assert [(each.number, each.outcome.exit_code) for each in status.earlier_attempts] == [(1, 1), (2, 1)]
    assert b"".join(part.data for part in site.read_logs(process.task_id, attempt=1)) == b"1\n"


def test_how_the_cleanup_ended_is_told_beside_the_task(site: farspawn.Client) -> None:
    process = site.launch(shell("exit 3"), cleanup=Cleanup(shell('echo "tidy $FARSPAWN_EXIT_CODE"; exit 4')))

    assert process.wait() == 3
    assert process.outcome is not None
    assert process.outcome.cleanup is not None
    assert process.outcome.cleanup.exit_code == 4
    assert output(process) == b"tidy 3\n"


def test_what_is_written_is_read_by_the_task(site: farspawn.Client) -> None:
    process = site.launch(["cat"], open_input=True)
    echoed = iter(process.logs(follow=True).lines())

    process.write_input(b"one\n")
    first = next(echoed)
    process.write_input(b"two\n")
    process.close_input()

    assert (first.data, process.wait()) == (b"one\n", 0)
    assert output(process) == b"one\ntwo\n"
    process.close_input()
    with pytest.raises(TaskNotRunningError):
        process.write_input(b"three\n")


def test_more_is_written_than_a_pipe_holds(site: farspawn.Client) -> None:
    process = site.launch(["wc", "-c"], open_input=True)

    with site.write_input(process.task_id) as stdin:
        assert stdin.write(b"x" * (3 << 20)) == 3 << 20

    assert process.wait() == 0
    assert output(process).split() == [b"3145728"]


def test_a_task_without_an_input_is_not_written_to(site: farspawn.Client) -> None:
    process = site.launch(["sleep", "60"])

    with pytest.raises(InputClosedError):
        process.write_input(b"x")


def test_a_task_is_waited_for_until_it_is_ready(site: farspawn.Client, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    script = shell(f"until [ -e {gate} ]; do sleep 0.01; done; echo now listening; exec sleep 60")
    process = site.launch(script, readiness=Readiness(log_line="*listening*"))
    with pytest.raises(WaitTimeoutError, match="not ready yet"):
        process.wait_ready(NO_TIME)
    assert not process.ready

    gate.touch()
    process.wait_ready()

    assert process.ready
    assert process.poll() is None


def test_a_task_that_ends_instead_of_being_ready_is_not_waited_for(site: farspawn.Client) -> None:
    never = Readiness(file="/no/such/file")

    with pytest.raises(NotReadyError):
        site.launch(["true"], readiness=never).wait_ready()
    with pytest.raises(LaunchFailedError):
        site.launch(["/no/such/program"], readiness=never).wait_ready()
    with pytest.raises(ValueError, match="without a readiness check"):
        site.launch(["true"]).wait_ready()
