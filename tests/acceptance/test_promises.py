"""The promises of the README, each in one test. The rest of the tests is about how far each of them reaches."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import grpc
import pytest
from support import atfork
from support.agent import Agent, short_directory, until_ended
from support.hanging import hung_program
from support.processes import LIKE_TORCHRUN, LIKE_TORCHRUN_SIZE, REFUSES_SIGTERM, is_alive, state
from support.refused import refused
from support.tasks import first_lines, launch, members, new_id, plan, reporting, shell, status_of, stop
from support.waiting import until

from farspawn.v1 import launcher_pb2 as pb
from farspawn.v1 import task_pb2


def test_promise_1_at_most_once_whatever_crashes_and_however_often_the_call_is_repeated(
    own_agent: Agent, tmp_path: Path
) -> None:
    evidence = tmp_path / "evidence"
    spec = task_pb2.TaskSpec(argv=shell(f"echo started >> {evidence}; exec sleep 60"))
    request = pb.LaunchTaskRequest(task_id=new_id(), spec=spec)
    calls = [own_agent.stub.LaunchTask.future(request) for _ in range(16)]
    until(lambda: any(call.done() for call in calls))

    own_agent.kill_server()
    replies = [own_agent.stub.LaunchTask(request) for _ in range(3)]

    until(evidence.exists)
    assert len({reply.task.status.uid for reply in replies}) == 1
    assert evidence.read_text() == "started\n"


def test_promise_2_nothing_outlives_its_task(agent: Agent) -> None:
    argv = reporting(f"signal.signal(signal.SIGTERM, signal.SIG_IGN)\n{LIKE_TORCHRUN}")
    task_id = launch(agent.stub, argv).status.task_id
    family = members(agent.stub, task_id, LIKE_TORCHRUN_SIZE)

    stop(agent.stub, task_id, plan(grace=0.2))
    ended = until_ended(agent.stub, task_id)

    assert not [member for member in family if member.alive]
    assert list(ended.outcome.survivors) == []


def test_promise_3_the_truth_about_an_exit(own_agent: Agent) -> None:
    task = launch(own_agent.stub, shell("trap 'exit 137' USR1; echo up; while :; do sleep 0.01; done")).status
    first_lines(own_agent.stub, task.task_id, 1)
    started = (state(task.pid) or ("", 0))[1]
    os.kill(own_agent.server_pid, signal.SIGSTOP)  # nobody hears of the exit now
    os.kill(task.pid, signal.SIGUSR1)
    until(lambda: not is_alive(task.pid, started))

    own_agent.kill_server()
    outcome = until_ended(own_agent.stub, task.task_id).outcome

    # 128 + 9 is an exit code like any other: not a signal, not out of memory, nobody's stop.
    assert (outcome.WhichOneof("ending"), outcome.exit_code) == ("exit_code", 137)
    assert outcome.cause == task_pb2.CAUSE_COMPLETED
    assert outcome.oom_kill != task_pb2.OOM_KILL_YES
    assert outcome.stopped_by == ""


def test_promise_4_one_task_never_delays_another(agent: Agent, tmp_path: Path) -> None:
    stubborn = launch(agent.stub, reporting(REFUSES_SIGTERM)).status.task_id
    members(agent.stub, stubborn, 1)
    stop(agent.stub, stubborn, plan(grace=3600))
    chatter = launch(agent.stub, ["head", "-c", "64M", "/dev/zero"]).status.task_id
    unread = agent.stub.ReadLogs(pb.ReadLogsRequest(task_id=chatter, follow=True))

    with hung_program(tmp_path / "hung") as hung:
        spec = task_pb2.TaskSpec(argv=[hung.path])
        starting = agent.stub.LaunchTask.future(pb.LaunchTaskRequest(task_id=new_id(), spec=spec))
        hung.until_executing()
        ended = [until_ended(agent.stub, launch(agent.stub, shell(f"exit {n}")).status.task_id, 10) for n in range(5)]

        assert [each.outcome.exit_code for each in ended] == [0, 1, 2, 3, 4]
        assert starting.result().task.status.state == task_pb2.TASK_STATE_STARTING
    unread.cancel()


def test_promise_5_the_agent_may_die_and_tasks_do_not(own_agent: Agent) -> None:
    body = "signal.signal(10, lambda *_: os.write(1, b'still here\\n'))\nreport(); signal.pause(); os._exit(42)"
    task = launch(own_agent.stub, reporting(body)).status
    members(own_agent.stub, task.task_id, 1)

    own_agent.kill_server()
    assert status_of(own_agent.stub, task.task_id).pid == task.pid
    os.kill(task.pid, signal.SIGUSR1)

    assert until_ended(own_agent.stub, task.task_id).outcome.exit_code == 42
    assert first_lines(own_agent.stub, task.task_id, 2)[1] == "still here"


def test_promise_6_the_sites_owner_decides_what_runs() -> None:
    with short_directory() as directory:
        config = directory / "site.toml"
        config.write_text("[limits]\nmax_live_tasks = 1\n")
        with Agent(directory, "--config", str(config)) as agent:
            launch(agent.stub, ["sleep", "60"])

            told = refused(lambda: launch(agent.stub, ["sleep", "60"]))

            assert (told.code, told.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "LIMIT_REACHED")
            assert (agent.state.stat().st_mode & 0o777, directory.stat().st_mode & 0o777) == (0o700, 0o700)


def test_promise_7_no_fork_ever(tmp_path: Path) -> None:
    try:
        counter = atfork.build(tmp_path, file=tmp_path / "forks")
    except atfork.NoCompilerError as error:
        pytest.skip(str(error))
    with short_directory() as directory, Agent(directory, environment=counter.environment) as agent:
        for code in range(20):
            assert until_ended(agent.stub, launch(agent.stub, shell(f"exit {code}")).status.task_id)
        agent.kill_server()
        launch(agent.stub, ["sleep", "60"])

    assert counter.forks() == []
