"""Requests that are refused, apart from specs: unknown tasks, plans, filters, waits."""

from __future__ import annotations

from collections.abc import Callable

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from support.agent import Agent
from support.refused import refused
from support.tasks import launch, status_of
from support.waiting import PATIENCE

from farspawn.v1 import launcher_pb2 as pb
from farspawn.v1 import task_pb2

INVALID = (grpc.StatusCode.INVALID_ARGUMENT, "SPEC_INVALID", "farspawn")

OF_A_TASK: dict[str, Callable[[Agent, str], object]] = {
    "StopTask": lambda agent, task_id: agent.stub.StopTask(pb.StopTaskRequest(task_id=task_id)),
    "SignalTask": lambda agent, task_id: agent.stub.SignalTask(pb.SignalTaskRequest(task_id=task_id, signal=15)),
    "DeleteTask": lambda agent, task_id: agent.stub.DeleteTask(pb.DeleteTaskRequest(task_id=task_id)),
    "ReadLogs": lambda agent, task_id: list(agent.stub.ReadLogs(pb.ReadLogsRequest(task_id=task_id))),
}


@pytest.mark.parametrize("method", OF_A_TASK)
@pytest.mark.parametrize("task_id", ["nobody", "a b", "\0", "../../etc/passwd", "x\n\x1b[31m"])
def test_an_unknown_task(agent: Agent, method: str, task_id: str) -> None:
    told = refused(lambda: OF_A_TASK[method](agent, task_id))

    assert (told.code, told.reason, told.domain) == (grpc.StatusCode.NOT_FOUND, "TASK_NOT_FOUND", "farspawn")
    assert told.metadata == {"task_id": task_id}
    assert told.retry_after is None


@pytest.mark.parametrize("method", OF_A_TASK)
@pytest.mark.parametrize("task_id", ["x" * 10_000, "火" * 5_000, "\0" * 15_000])
def test_an_unknown_task_whose_id_is_longer_than_any_trailer(agent: Agent, method: str, task_id: str) -> None:
    for _ in range(5):
        told = refused(lambda: OF_A_TASK[method](agent, task_id))

        assert (told.code, told.reason, told.domain) == (grpc.StatusCode.NOT_FOUND, "TASK_NOT_FOUND", "farspawn")


@pytest.mark.parametrize(
    "bad",
    [Duration(seconds=-1), Duration(seconds=2**63 - 1), Duration(seconds=1, nanos=-1), Duration(nanos=2_000_000_000)],
)
@pytest.mark.parametrize("name", ["linger", "drain", "grace"])
def test_spans_of_a_stop(agent: Agent, name: str, bad: Duration) -> None:
    task_id = launch(agent.stub, ["sleep", "60"]).status.task_id
    plan = task_pb2.StopPlan(**{name: bad})  # type: ignore[arg-type]

    told = refused(lambda: agent.stub.StopTask(pb.StopTaskRequest(task_id=task_id, plan=plan)))

    assert (told.code, told.reason, told.domain) == INVALID
    assert list(told.violations) == [f"plan.{name}"]
    assert status_of(agent.stub, task_id).state == task_pb2.TASK_STATE_RUNNING


@pytest.mark.parametrize("number", [-1, 65])
def test_the_signal_of_a_stop(agent: Agent, number: int) -> None:
    task_id = launch(agent.stub, ["sleep", "60"]).status.task_id
    plan = task_pb2.StopPlan(signal=number)

    told = refused(lambda: agent.stub.StopTask(pb.StopTaskRequest(task_id=task_id, plan=plan)))

    assert (told.code, list(told.violations)) == (grpc.StatusCode.INVALID_ARGUMENT, ["plan.signal"])
    assert status_of(agent.stub, task_id).state == task_pb2.TASK_STATE_RUNNING


@pytest.mark.parametrize(
    "bad", [Duration(seconds=-1), Duration(nanos=-1), Duration(seconds=2**63 - 1), Duration(seconds=-1, nanos=1)]
)
def test_the_wait_of_a_poll(agent: Agent, bad: Duration) -> None:
    told = refused(lambda: agent.stub.Poll(pb.PollRequest(task_ids=["nobody"], wait=bad)))

    assert (told.code, told.reason, told.domain) == INVALID
    assert list(told.violations) == ["wait"]


@pytest.mark.parametrize("state", [0, 8, -1])
def test_unknown_states_in_a_filter(agent: Agent, state: int) -> None:
    which = pb.TaskFilter(states=[state])  # type: ignore[list-item]

    listed = refused(lambda: agent.stub.ListTasks(pb.ListTasksRequest(filter=which)))
    watched = refused(lambda: list(agent.stub.WatchTasks(pb.WatchTasksRequest(filter=which), timeout=PATIENCE)))

    assert (listed.code, list(listed.violations)) == (grpc.StatusCode.INVALID_ARGUMENT, ["filter.states"])
    assert (watched.code, list(watched.violations)) == (grpc.StatusCode.INVALID_ARGUMENT, ["filter.states"])
