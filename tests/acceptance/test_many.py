"""A site full of tasks, whose server dies: all are back, and nothing happened to any."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from support.agent import AT_ONCE, Agent, until_ended
from support.tasks import launch
from support.waiting import until

from farspawn.v1 import launcher_pb2 as pb
from farspawn.v1 import task_pb2

MANY = 300


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


def _running(agent: Agent) -> dict[str, tuple[str, int]]:
    states = [task_pb2.TASK_STATE_RUNNING]
    tasks = agent.stub.ListTasks(pb.ListTasksRequest(filter=pb.TaskFilter(states=states), page_size=1000)).tasks
    return {task.status.task_id: (task.status.uid, task.status.pid) for task in tasks}
