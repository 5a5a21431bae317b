"""DeleteTask by several clients at the same moment."""

from __future__ import annotations

import grpc
from support.agent import Agent, until_ended
from support.tasks import launch

from farspawn.v1 import launcher_pb2 as pb


def test_of_many_deletions_at_once_one_deletes(agent: Agent) -> None:
    task_id = launch(agent.stub, ["/bin/true"]).status.task_id
    until_ended(agent.stub, task_id)

    calls = [agent.stub.DeleteTask.future(pb.DeleteTaskRequest(task_id=task_id)) for _ in range(8)]

    codes = [call.code() for call in calls]
    assert sorted(codes, key=lambda code: code.name) == [grpc.StatusCode.NOT_FOUND] * 7 + [grpc.StatusCode.OK]
