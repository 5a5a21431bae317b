"""Callers who misuse connections: silent, idle, too many, flooding."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from hyperframe.frame import ContinuationFrame, HeadersFrame, PingFrame
from support.agent import Agent, short_directory
from support.bystander import bystander, resident_mib
from support.http2 import Http2, connect, framed
from support.tasks import launch, span
from support.tls import TlsSite, tls_site
from support.waiting import until

from farspawn.v1 import launcher_pb2 as pb

RESOURCE_EXHAUSTED = 8


@pytest.fixture
def tcp_agent() -> Iterator[Agent]:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
    with short_directory() as directory:
        config = directory / "site.toml"
        config.write_text('[policy]\nallow = "any"\n')
        with Agent(directory, "--insecure", "--config", str(config), listen=f"127.0.0.1:{port}") as agent:
            yield agent
            agent.check_log()


def until_closed(connection: socket.socket) -> None:
    """Wait until the server closes a connection on which we say nothing."""
    while connection.recv(4096):
        pass  # its greeting


@pytest.mark.slow
def test_a_connection_that_says_nothing_is_closed(tcp_agent: Agent) -> None:
    with bystander(tcp_agent), connect(tcp_agent.address) as silent:
        until_closed(silent)


@pytest.mark.slow
def test_a_connection_that_says_nothing_in_tls_or_before_it_is_closed() -> None:
    with tls_site() as site, bystander(site), connect(site.address) as silent, connect(site.address) as plain:
        with client_tls(site).wrap_socket(plain, server_hostname="localhost") as half_silent:
            until_closed(half_silent)
        until_closed(silent)


def client_tls(site: TlsSite) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=site.pki / "ca.pem")
    context.load_cert_chain(site.pki / "alice.pem", site.pki / "alice.key")
    context.set_alpn_protocols(["h2"])
    return context


@pytest.mark.slow
def test_an_idle_connection_is_closed_and_one_that_waits_is_not(own_agent: Agent) -> None:
    status = launch(own_agent.stub, ["sleep", "600"]).status
    poll = pb.PollRequest(task_ids=[status.task_id], wait=span(300), since_revision=status.revision)
    with (
        bystander(own_agent),
        Http2(own_agent.address) as poller,
        Http2(own_agent.address) as watcher,
        Http2(own_agent.address) as idle,
    ):
        poller.call("Poll", framed(poll))
        poller.send()
        watcher.call("WatchTasks", framed(pb.WatchTasksRequest(filter=pb.TaskFilter(owner="nobody"))))  # it never reads
        watcher.send()
        idle.until(lambda: idle.closed, 60)

        for connection in (poller, watcher):
            connection.ping()
            connection.send()
            connection.until_ponged()
            assert not connection.goaway
            assert not connection.statuses


def test_one_connection_too_many_is_closed_until_another_one_is() -> None:
    with short_directory() as directory, ExitStack() as stack:
        config = directory / "site.toml"
        config.write_text("[limits]\nmax_connections = 5\n")
        agent = stack.enter_context(Agent(directory, "--config", str(config)))
        stack.enter_context(bystander(agent))  # has one
        inside = [stack.enter_context(Http2(agent.address)) for _ in range(4)]

        with Http2(agent.address) as surplus:
            assert not surplus.greeted
        assert all(each.greeted for each in inside)
        inside[0].close()
        until(lambda: gets_in(agent))


def gets_in(agent: Agent) -> bool:
    with Http2(agent.address) as late:
        return late.greeted


def test_a_flood_of_pings_ends_in_a_goaway(own_agent: Agent) -> None:
    ping = PingFrame(0, opaque_data=b"farspawn").serialize()
    with bystander(own_agent), Http2(own_agent.address) as attacker:
        attacker.send(ping * 10_000)
        attacker.until(lambda: attacker.closed)

        assert attacker.goaway == b"too_many_pings"


def test_calls_with_too_much_metadata_are_refused(own_agent: Agent) -> None:
    before = resident_mib(own_agent.server_pid)
    with bystander(own_agent), Http2(own_agent.address) as attacker:
        for letter in "abcdefghijklmnopqrstuvwxyz":  # all at once: gRPC takes its time to refuse each
            attacker.call("GetSite", framed(pb.GetSiteRequest()), note=letter * 20_000)
        attacker.send()
        attacker.until_answered(26)

        assert set(attacker.statuses.values()) == {RESOURCE_EXHAUSTED}
        assert resident_mib(own_agent.server_pid) < before + 64


@pytest.mark.parametrize("fragment", [b"", b"\0\x01a\x64" + b"b" * 100], ids=["empty", "of headers"])
def test_headers_without_end_are_not_kept(own_agent: Agent, fragment: bytes) -> None:
    before = resident_mib(own_agent.server_pid)
    more = ContinuationFrame(1, data=fragment * 100).serialize() * 10
    with bystander(own_agent) as other, Http2(own_agent.address) as attacker:
        attacker.shout(HeadersFrame(1, data=b"\x83").serialize())
        for _ in range(1000):
            attacker.shout(more)
        other.served()

        assert resident_mib(own_agent.server_pid) < before + 64


@pytest.mark.slow
def test_a_connection_that_answers_no_pings_is_closed_although_it_has_calls(own_agent: Agent) -> None:
    status = launch(own_agent.stub, ["sleep", "600"]).status
    poll = pb.PollRequest(task_ids=[status.task_id], wait=span(300), since_revision=status.revision)
    with Http2(own_agent.address) as mute:
        mute.call("Poll", framed(poll))
        mute.send()
        mute._socket.settimeout(120)

        until_closed(mute._socket)  # reads, and answers nothing
