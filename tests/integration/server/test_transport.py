"""What the transport bears: gRPC does not check its channel arguments, so each is proved by its effect."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2
from support.agent import Agent
from support.http2 import Http2, framed
from support.tasks import launch, span, stop
from support.waiting import PATIENCE, until

from farspawn.v1 import launcher_pb2 as pb
from farspawn.v1.launcher_pb2_grpc import TaskLauncherStub
from farspawn_server.rpc import serve
from farspawn_server.rpc.gate import Gate
from farspawn_server.rpc.health import NAME, Health

PING = b"\0\0\x08\x06\0\0\0\0\0farspawn"
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


@pytest.mark.slow
def test_a_client_that_pings_every_five_seconds_on_a_quiet_call_is_not_sent_away(own_agent: Agent) -> None:
    # By default gRPC sends away for the third ping too many, unless the server says something in between.
    status = launch(own_agent.stub, ["sleep", "60"]).status
    request = pb.PollRequest(task_ids=[status.task_id], wait=span(300), since_revision=status.revision)
    with Http2(own_agent.address) as client:
        quiet = client.call("Poll", framed(request))
        client.send()
        for pings in range(1, 6):
            due = time.monotonic() + 5.5
            client.ping()
            client.send()
            client.until(lambda pings=pings: client.pongs >= pings)  # type: ignore[misc]  # bound in this round
            client.until(lambda due=due: time.monotonic() > due)  # type: ignore[misc]  # the same

        assert (client.goaway, client.closed, quiet in client.statuses) == (b"", False, False)


def test_a_client_that_pings_as_fast_as_it_can_is_sent_away(own_agent: Agent) -> None:
    with Http2(own_agent.address) as client:
        watch = client.call("WatchTasks", framed(pb.WatchTasksRequest(filter=pb.TaskFilter(owner="nobody"))))
        client.until(lambda: client.received.get(watch))
        client.shout(PING * 10)
        until_said(client, b"too_many_pings")


def test_a_connection_that_has_reached_its_age_is_sent_away_and_cut_off_after_the_grace(tmp_path: Path) -> None:
    # The server's own arguments, but for the spans, which are too long for a test.
    options = [(name, 300 if "max_connection_age" in name else value) for name, value in serve._OPTIONS]
    address = f"unix:{tmp_path}/a.sock"

    async def run() -> None:
        server = grpc.aio.server(options=options)
        health = Health(Gate(None, lambda _: None))
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(NAME, dict(health.handlers())),))
        server.add_insecure_port(address)
        await server.start()
        await asyncio.to_thread(until_cut_off, address)
        await server.stop(None)

    asyncio.run(run())


def until_cut_off(address: str) -> None:
    with Http2(address) as client:
        client.call(f"/{NAME}/Watch", framed(health_pb2.HealthCheckRequest()))
        client.send()
        until_said(client, b"max_age")
        until(lambda: client.read() is not None and client.closed)


def until_said(client: Http2, words: bytes) -> None:
    """Listen, without making anything of it, until the server has said something."""
    heard = bytearray()

    def said() -> bool:
        heard.extend(client.read())
        return words in heard

    until(said)
