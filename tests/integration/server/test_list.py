"""ListTasks: pages, filters, tokens."""

from __future__ import annotations

from collections.abc import Iterator

import grpc
import pytest
from support.agent import Agent, until_ended
from support.refused import refused
from support.tasks import launch, new_id, plan, stop

from farspawn.v1 import launcher_pb2 as pb
from farspawn.v1 import task_pb2


def pages(agent: Agent, which: pb.TaskFilter, size: int) -> Iterator[list[task_pb2.Task]]:
    token = ""
    while True:
        reply = agent.stub.ListTasks(pb.ListTasksRequest(filter=which, page_size=size, page_token=token))
        yield list(reply.tasks)
        token = reply.next_page_token
        if not token:
            return


@pytest.mark.parametrize(("count", "size", "sizes"), [(7, 3, [3, 3, 1]), (6, 3, [3, 3]), (2, 0, [2]), (0, 5, [0])])
def test_pages_hold_every_task_once_oldest_first(agent: Agent, count: int, size: int, sizes: list[int]) -> None:
    label = {"listed": new_id()}
    ids = [launch(agent.stub, ["true"], labels=label).status.task_id for _ in range(count)]

    found = list(pages(agent, pb.TaskFilter(labels=label), size))

    assert [len(page) for page in found] == sizes
    assert [task.status.task_id for page in found for task in page] == ids


def test_a_page_holds_a_hundred_tasks_if_nobody_says_otherwise(agent: Agent) -> None:
    label = {"listed": new_id()}
    spec = task_pb2.TaskSpec(argv=["true"], labels=label)
    for call in [agent.stub.LaunchTask.future(pb.LaunchTaskRequest(spec=spec)) for _ in range(101)]:
        call.result()

    assert [len(page) for page in pages(agent, pb.TaskFilter(labels=label), 0)] == [100, 1]
    assert [len(page) for page in pages(agent, pb.TaskFilter(labels=label), 5000)] == [101]


def test_a_task_launched_between_two_pages_is_on_the_last_and_none_is_told_twice(agent: Agent) -> None:
    label = {"listed": new_id()}
    ids = [launch(agent.stub, ["true"], labels=label).status.task_id for _ in range(4)]
    turning = pages(agent, pb.TaskFilter(labels=label), 2)
    first = next(turning)

    ids.append(launch(agent.stub, ["true"], labels=label).status.task_id)

    assert [task.status.task_id for page in (first, *turning) for task in page] == ids


def test_the_task_that_a_token_was_made_of_may_be_deleted(agent: Agent) -> None:
    label = {"listed": new_id()}
    ids = [launch(agent.stub, ["true"], labels=label).status.task_id for _ in range(4)]
    turning = pages(agent, pb.TaskFilter(labels=label), 2)
    next(turning)
    until_ended(agent.stub, ids[1])
    agent.stub.DeleteTask(pb.DeleteTaskRequest(task_id=ids[1]))

    assert [task.status.task_id for page in turning for task in page] == ids[2:]


def test_tasks_are_filtered_by_state(agent: Agent) -> None:
    label = {"listed": new_id()}
    running = launch(agent.stub, ["sleep", "60"], labels=label).status.task_id
    ended = launch(agent.stub, ["true"], labels=label).status.task_id
    until_ended(agent.stub, ended)

    def in_states(*states: task_pb2.TaskState.ValueType) -> list[str]:
        (page,) = pages(agent, pb.TaskFilter(labels=label, states=states), 0)
        return [task.status.task_id for task in page]

    assert in_states(task_pb2.TASK_STATE_RUNNING) == [running]
    assert in_states(task_pb2.TASK_STATE_EXITED) == [ended]
    assert in_states(task_pb2.TASK_STATE_EXITED, task_pb2.TASK_STATE_RUNNING) == [running, ended]
    assert in_states(task_pb2.TASK_STATE_LOST) == []


def test_tasks_are_filtered_by_all_labels_together(agent: Agent) -> None:
    mark = new_id()
    both = launch(agent.stub, ["true"], labels={"mark": mark, "round": "1", "site": "a"}).status.task_id
    launch(agent.stub, ["true"], labels={"mark": mark, "round": "2", "site": "a"})

    (page,) = pages(agent, pb.TaskFilter(labels={"mark": mark, "round": "1"}), 0)

    assert [task.status.task_id for task in page] == [both]


def test_tasks_are_filtered_by_owner(agent: Agent) -> None:
    label = {"listed": new_id()}
    task_id = launch(agent.stub, ["true"], labels=label).status.task_id

    (mine,) = pages(agent, pb.TaskFilter(labels=label, owner="local"), 0)
    (theirs,) = pages(agent, pb.TaskFilter(labels=label, owner="somebody-else"), 0)

    assert [task.status.task_id for task in mine] == [task_id]
    assert theirs == []


@pytest.mark.parametrize("token", ["x", "x" * 36, "zzzzzzzz-zzzz-zzzz-zzzz-zzzzzzzzzzzz", "\0" * 36, "1" * 100_000])
def test_a_page_token_that_is_not_from_the_site_is_refused(agent: Agent, token: str) -> None:
    told = refused(lambda: agent.stub.ListTasks(pb.ListTasksRequest(page_token=token)))

    assert (told.code, told.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "SPEC_INVALID")
    assert list(told.violations) == ["page_token"]


def test_a_negative_page_size_is_refused(agent: Agent) -> None:
    told = refused(lambda: agent.stub.ListTasks(pb.ListTasksRequest(page_size=-1)))

    assert (told.code, list(told.violations)) == (grpc.StatusCode.INVALID_ARGUMENT, ["page_size"])


def test_tasks_of_a_megabyte_each_can_be_listed_by_a_client_that_takes_four(agent: Agent) -> None:
    label = {"listed": new_id()}
    env = {f"V{number}": "x" * 100_000 for number in range(10)}
    ids = [launch(agent.stub, ["true"], env=env, labels=label).status.task_id for _ in range(6)]

    found = [task.status.task_id for page in pages(agent, pb.TaskFilter(labels=label), 0) for task in page]

    assert found == ids


def test_a_stopping_task_is_listed_as_stopping(agent: Agent) -> None:
    label = {"listed": new_id()}
    task_id = launch(agent.stub, ["sleep", "60"], labels=label).status.task_id
    stop(agent.stub, task_id, plan(linger=3600))

    (page,) = pages(agent, pb.TaskFilter(labels=label, states=[task_pb2.TASK_STATE_STOPPING]), 0)

    assert [task.status.task_id for task in page] == [task_id]
