"""LaunchTask repeated: one id, one process."""

from __future__ import annotations

from pathlib import Path

import grpc
from support.agent import Agent, until_ended
from support.refused import refused
from support.tasks import new_id, shell

from farspawn.v1 import launcher_pb2 as pb
from farspawn.v1 import task_pb2

TRUE = task_pb2.TaskSpec(argv=["true"])
SLEEP = task_pb2.TaskSpec(argv=["sleep", "60"], labels={"a": "1", "b": "2"})


def test_a_repeated_launch_returns_the_running_task(agent: Agent) -> None:
    request = pb.LaunchTaskRequest(task_id=new_id(), spec=SLEEP)

    first = agent.stub.LaunchTask(request)
    second = agent.stub.LaunchTask(request)

    assert (first.created, second.created) == (True, False)
    assert second.task == first.task


def test_a_repeated_launch_returns_the_ended_task_and_starts_nothing(agent: Agent) -> None:
    request = pb.LaunchTaskRequest(task_id=new_id(), spec=TRUE)
    first = agent.stub.LaunchTask(request).task.status
    ended = until_ended(agent.stub, first.task_id)

    again = agent.stub.LaunchTask(request)

    assert not again.created
    assert again.task.status == ended


def test_labels_and_environment_in_another_order_are_the_same_spec(agent: Agent) -> None:
    task_id = new_id()
    other_order = task_pb2.TaskSpec(argv=["sleep", "60"], labels={"b": "2", "a": "1"})
    agent.stub.LaunchTask(pb.LaunchTaskRequest(task_id=task_id, spec=SLEEP))

    assert not agent.stub.LaunchTask(pb.LaunchTaskRequest(task_id=task_id, spec=other_order)).created


def test_an_id_used_for_another_spec_is_refused_with_both_digests(agent: Agent) -> None:
    task_id = new_id()
    existing = agent.stub.LaunchTask(pb.LaunchTaskRequest(task_id=task_id, spec=TRUE)).task
    given = agent.stub.LaunchTask(pb.LaunchTaskRequest(task_id=new_id(), spec=SLEEP)).task

    told = refused(lambda: agent.stub.LaunchTask(pb.LaunchTaskRequest(task_id=task_id, spec=SLEEP)))

    assert told.code == grpc.StatusCode.ALREADY_EXISTS
    assert (told.reason, told.domain) == ("TASK_ID_REUSED", "farspawn")
    assert told.metadata == {
        "task_id": task_id,
        "existing_digest": existing.spec_digest,
        "given_digest": given.spec_digest,
    }
    assert told.retry_after is None


def test_thirty_two_launches_of_one_id_at_once_start_one_process(agent: Agent, tmp_path: Path) -> None:
    evidence = tmp_path / "evidence"
    spec = task_pb2.TaskSpec(argv=shell(f"echo started >> {evidence}"))
    request = pb.LaunchTaskRequest(task_id=new_id(), spec=spec)

    replies = [call.result() for call in [agent.stub.LaunchTask.future(request) for _ in range(32)]]
    until_ended(agent.stub, request.task_id)

    assert [reply.created for reply in replies].count(True) == 1
    assert len({reply.task.status.uid for reply in replies}) == 1
    assert evidence.read_text() == "started\n"


def test_an_id_can_be_used_again_after_deletion_and_is_another_task(agent: Agent) -> None:
    request = pb.LaunchTaskRequest(task_id=new_id(), spec=TRUE)
    first = agent.stub.LaunchTask(request).task.status
    until_ended(agent.stub, request.task_id)
    agent.stub.DeleteTask(pb.DeleteTaskRequest(task_id=request.task_id))

    again = agent.stub.LaunchTask(request)

    assert again.created
    assert again.task.status.uid != first.uid
    assert until_ended(agent.stub, request.task_id).revision > first.revision
