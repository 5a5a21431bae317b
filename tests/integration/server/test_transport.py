"""What the transport bears: gRPC does not check its channel arguments, so each is proved by its effect."""

from __future__ import annotations

import queue
import socket

import grpc
import pytest
from support import raw
from support.agent import Agent, short_directory
from support.refused import refused
from support.tasks import launch, span, stop
from support.waiting import until

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

        assert own_agent.stub.GetSite(pb.GetSiteRequest(), timeout=20).site.load.live_tasks == 1
        stop(own_agent.stub, status.task_id)
        assert all(call.result(timeout=30).statuses for call in waiting)


def refused_in_time(stub: TaskLauncherStub) -> bool:
    try:
        stub.GetSite(pb.GetSiteRequest(), timeout=0.3)
    except grpc.RpcError:
        return True
    return False


@pytest.mark.slow
def test_a_call_that_sends_nothing_and_does_not_end_is_refused_in_time(agent: Agent) -> None:
    silent: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()

    told = refused(lambda: raw.call(agent.channel, "GetSite", iter(silent.get, None)))
    silent.put(None)

    assert (told.code, told.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "SPEC_INVALID")


@pytest.mark.slow
def test_a_connection_that_says_nothing_is_closed() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    with (
        short_directory() as directory,
        Agent(directory, "--insecure", listen=f"127.0.0.1:{port}"),
        socket.create_connection(("127.0.0.1", port), timeout=30) as silent,
    ):
        while silent.recv(4096):
            pass  # the server's own greeting

        assert silent.recv(1) == b""
