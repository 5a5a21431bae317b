"""A site full of tasks, whose server, keeper, or both are killed: all are back, and every exit is true."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from support.agent import AT_ONCE, Agent, short_directory, until_ended
from support.crash import CrashAgent, marked
from support.evidence import SAYS_SO, Scene
from support.tasks import launch, shell
from support.waiting import PATIENCE, until

from farspawn.v1 import launcher_pb2 as pb
from farspawn.v1 import task_pb2

MANY = 300
VERY_MANY = 1500


def server(agent: CrashAgent) -> None:
    agent.kill_server_only()


def keeper(agent: CrashAgent) -> None:
    agent.kill_keeper_only()


def both(agent: CrashAgent) -> None:
    os.kill(agent.server_pid, signal.SIGKILL)
    agent.kill_keeper_only()


def test_every_running_task_is_back_after_the_server_was_killed(own_agent: Agent) -> None:
    with ThreadPoolExecutor(16) as threads:
        list(threads.map(lambda number: launch(own_agent.stub, ["sleep", "1000"], task_id=f"t-{number}"), range(MANY)))
        before = until(lambda: found if len(found := _running(own_agent)) == MANY else None)
        assert before is not None

        own_agent.kill_server()

        assert _running(own_agent) == before
        assert {process.pid for process in own_agent.task_processes()} == {pid for _, pid in before.values()}
        for task_id in before:
            own_agent.stub.StopTask(pb.StopTaskRequest(task_id=task_id, plan=AT_ONCE))
        ends = list(threads.map(lambda task_id: until_ended(own_agent.stub, task_id), before))

    assert {(end.state, end.outcome.signal, end.outcome.cause) for end in ends} == {
        (task_pb2.TASK_STATE_EXITED, 9, task_pb2.CAUSE_STOP_REQUESTED)
    }
    assert not own_agent.task_processes()


@pytest.mark.slow
@pytest.mark.parametrize("strike", [server, keeper, both])
def test_every_exit_of_very_many_is_true(strike: Callable[[CrashAgent], None]) -> None:
    """Half of them end while nobody is there to be told."""
    with short_directory() as directory, CrashAgent(directory) as agent:
        scene = Scene(directory)
        for gate in ("early", "late"):
            scene.add_gate(gate)
        uids = _launch_very_many(agent, scene)
        before = _running(agent)
        assert len(before) == VERY_MANY

        struck_at = time.time_ns()
        strike(agent)
        scene.let_all_pass("early")
        agent.until_back(struck_at)
        until(lambda: len(_running(agent)) == VERY_MANY // 2, every=0.2)
        left = _running(agent)
        assert left == {task_id: before[task_id] for task_id in left}
        assert {_gate(int(task_id)) for task_id in left} == {"late"}

        scene.let_all_pass("late")
        until(lambda: not agent.stub.GetSite(pb.GetSiteRequest()).site.load.live_tasks, every=0.2)
        ends = {task.status.task_id: task.status for task in _listed(agent)}
        runs = [line.uid for line in scene.started()]
        assert {task_id: status.uid for task_id, status in ends.items()} == uids
        assert sorted(runs) == sorted(uids.values())
        for task_id, status in ends.items():
            assert status.state == task_pb2.TASK_STATE_EXITED, status
            assert status.outcome.exit_code == _code(int(task_id)), status
            assert status.outcome.cause == task_pb2.CAUSE_COMPLETED, status
        assert not marked(directory)
        agent.check_log()
        agent.check_deaths()
        scene.close()


def _launch_very_many(agent: Agent, scene: Scene) -> dict[str, str]:
    def launch_one(number: int) -> tuple[str, str]:
        spec = scene.spec(shell(f"{SAYS_SO}read _ <gate.{_gate(number)}; exit {_code(number)}"))
        request = pb.LaunchTaskRequest(task_id=str(number), spec=spec)
        return str(number), agent.stub.LaunchTask(request, timeout=PATIENCE).task.status.uid

    with ThreadPoolExecutor(16) as threads:
        uids = dict(threads.map(launch_one, range(VERY_MANY)))
    until(lambda: len(scene.started()) == VERY_MANY, every=0.2)
    return uids


def _gate(number: int) -> str:
    return "late" if number % 2 else "early"


def _code(number: int) -> int:
    return number % 251  # a prime: each code on either side of the gates


def _running(agent: Agent) -> dict[str, tuple[str, int]]:
    return {
        task.status.task_id: (task.status.uid, task.status.pid)
        for task in _listed(agent, states=[task_pb2.TASK_STATE_RUNNING])
    }


def _listed(agent: Agent, *, states: list[task_pb2.TaskState.ValueType] | None = None) -> Iterator[task_pb2.Task]:
    token = ""
    while True:
        which = pb.TaskFilter(states=states)
        request = pb.ListTasksRequest(filter=which, page_size=1000, page_token=token)
        reply = agent.stub.ListTasks(request, timeout=PATIENCE)
        yield from reply.tasks
        if not (token := reply.next_page_token):
            return
