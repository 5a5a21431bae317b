"""SIGKILL for the keeper: the tasks run on, and a new agent has them again as if nothing had been."""

from __future__ import annotations

import signal
from pathlib import Path

from support.agent import Agent, until_ended
from support.processes import is_alive, state
from support.tasks import launch, new_id, shell, stop
from support.waiting import until

from farspawn.v1 import launcher_pb2 as pb
from farspawn.v1 import task_pb2


def test_the_server_ends_with_its_keeper(own_agent: Agent) -> None:
    server = own_agent.server_pid
    started = (state(server) or ("", 0))[1]
    assert is_alive(server, started)

    own_agent.kill_keeper()

    assert not is_alive(server, started)


def test_a_running_task_is_found_again_and_can_be_stopped(own_agent: Agent) -> None:
    task = launch(own_agent.stub, ["sleep", "60"]).status
    own_agent.kill_keeper()

    with Agent(own_agent.directory) as again:
        (found,) = again.stub.Poll(pb.PollRequest(task_ids=[task.task_id])).statuses
        stop(again.stub, task.task_id)
        ended = until_ended(again.stub, task.task_id)

    assert (found.pid, found.state) == (task.pid, task_pb2.TASK_STATE_RUNNING)
    assert (ended.state, ended.outcome.signal) == (task_pb2.TASK_STATE_EXITED, signal.SIGTERM)
    assert ended.times.started == task.times.started


def test_a_launch_repeated_after_the_keepers_death_starts_nothing(own_agent: Agent, tmp_path: Path) -> None:
    evidence = tmp_path / "evidence"
    spec = task_pb2.TaskSpec(argv=shell(f"echo started >> {evidence}; exec sleep 60"))
    request = pb.LaunchTaskRequest(task_id=new_id(), spec=spec)
    first = own_agent.stub.LaunchTask(request).task.status
    until(evidence.exists)
    own_agent.kill_keeper()

    with Agent(own_agent.directory) as again:
        reply = again.stub.LaunchTask(request)
        assert not reply.created
        assert reply.task.status.uid == first.uid
        assert evidence.read_text() == "started\n"
        again.clear()
