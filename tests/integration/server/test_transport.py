"""What the transport bears: gRPC does not check its channel arguments, so each is proved by its effect."""

from __future__ import annotations

import grpc
from support.agent import Agent
from support.tasks import launch, span, stop
from support.waiting import PATIENCE, until

from farspawn.v1 import launcher_pb2 as pb
from farspawn.v1.launcher_pb2_grpc import TaskLauncherStub

MOST_STREAMS = 100
"""`grpc.max_concurrent_streams` of the server."""


def test_one_connection_has_no_more_than_its_share_of_calls(own_agent: Agent) -> None:
    status = launch(own_agent.stub, ["sleep", "60"]).status
    request = pb.PollRequest(task_ids=[status.task_id], wait=span(300), since_revision=status.revision)
    with grpc.insecure_channel(own_agent.address, options=[("grpc.use_local_subchannel_pool", 1)]) as greedy:
        theirs = TaskLauncherStub(greedy)
        waiting = [theirs.Poll.future(request) for _ in range(MOST_STREAMS)]
        # Only a full connection makes a call wait that is answered at once elsewhere.
        until(lambda: refused_in_time(theirs))

        assert own_agent.stub.GetSite(pb.GetSiteRequest(), timeout=PATIENCE).site.load.live_tasks == 1
        stop(own_agent.stub, status.task_id)
        assert all(call.result(timeout=PATIENCE).statuses for call in waiting)


def refused_in_time(stub: TaskLauncherStub) -> bool:
    try:
        stub.GetSite(pb.GetSiteRequest(), timeout=0.3)
    except grpc.RpcError:
        return True
    return False
