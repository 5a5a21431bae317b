"""The owner's Unix socket, beside TCP: nobody out there can keep the owner from the agent."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from support.agent import SERVING, Agent, short_directory, until_ended
from support.refused import refused
from support.tasks import launch
from support.tls import TlsSite, tls_site
from support.waiting import until

from farspawn.v1 import launcher_pb2 as pb
from farspawn.v1 import site_pb2, task_pb2
from farspawn.v1.launcher_pb2_grpc import TaskLauncherStub


@pytest.fixture
def site() -> Iterator[TlsSite]:
    with tls_site() as site:
        yield site


@pytest.fixture
def owner(site: TlsSite) -> Iterator[TaskLauncherStub]:
    with grpc.insecure_channel(f"unix:{site.state}/farspawnd.sock") as channel:
        yield TaskLauncherStub(channel)


def test_the_owner_needs_no_certificate_and_is_the_admin_local(site: TlsSite, owner: TaskLauncherStub) -> None:
    with site.caller("alice") as alice:
        task_id = launch(alice, ["sleep", "600"]).status.task_id

    task = launch(owner, ["sleep", "600"])

    assert task.owner == "local"
    seen = {each.status.task_id for each in owner.ListTasks(pb.ListTasksRequest()).tasks}
    assert seen == {task_id, task.status.task_id}
    site.clear()


def test_what_may_run_by_default_follows_the_way_a_caller_comes(site: TlsSite, owner: TaskLauncherStub) -> None:
    site.configure(policy="")
    os.kill(site.keeper_pid, 1)
    until(lambda: "settings renewed" in site.log)

    with site.caller("admin") as admin:
        told = refused(lambda: launch(admin, ["true"]))
        assert told.reason == "POLICY_DENIED"
        assert admin.GetSite(pb.GetSiteRequest()).site.admission == site_pb2.ADMISSION_TEMPLATES
    assert owner.GetSite(pb.GetSiteRequest()).site.admission == site_pb2.ADMISSION_ANY
    assert until_ended(owner, launch(owner, ["true"]).status.task_id).state == task_pb2.TASK_STATE_EXITED


def test_health_is_told_at_the_owners_socket(site: TlsSite) -> None:
    with grpc.insecure_channel(f"unix:{site.state}/farspawnd.sock") as channel:
        answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=10)

    assert answer.status == SERVING


def test_whoever_holds_every_connection_over_tcp_does_not_lock_the_owner_out() -> None:
    with short_directory() as directory, ExitStack() as stack:
        config = directory / "site.toml"
        config.write_text("[limits]\nmax_connections = 3\n")
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port: int = probe.getsockname()[1]
        own = f"unix:{directory}/a.sock"
        words = ("--config", str(config), "--insecure", "--listen", f"127.0.0.1:{port}")
        with Agent(directory, *words, listen=own) as agent:
            for _ in range(10):
                stack.enter_context(socket.create_connection(("127.0.0.1", port)))
            with grpc.insecure_channel(own, [("grpc.use_local_subchannel_pool", 1)]) as channel:
                assert TaskLauncherStub(channel).GetSite(pb.GetSiteRequest(), timeout=10).site.name
            agent.check_log()


@pytest.mark.parametrize("what", ["file", "directory"])
def test_a_socket_that_is_removed_comes_back_by_itself_and_no_task_notices(what: str) -> None:
    with short_directory() as directory:
        place = directory / "s"
        with Agent(directory, listen=f"unix:{place}/a.sock") as agent:
            task = launch(agent.stub, ["sleep", "600"]).status
            (place / "a.sock").unlink()
            if what == "directory":
                place.rmdir()

            until((place / "a.sock").exists)
            agent.until_serving()

            assert "socket gone" in agent.log
            status = agent.stub.Poll(pb.PollRequest(task_ids=[task.task_id])).statuses[0]
            assert (status.state, status.pid) == (task_pb2.TASK_STATE_RUNNING, task.pid)
            agent.clear()


def test_an_agent_whose_socket_is_not_to_be_made_again_serves_on(tmp_path: Path) -> None:
    with short_directory() as directory:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port: int = probe.getsockname()[1]
        words = ("--insecure", "--listen", f"unix:{directory}/s/a.sock")
        with Agent(directory, *words, listen=f"127.0.0.1:{port}") as agent:
            server = agent.server_pid
            (directory / "s").rename(tmp_path / "elsewhere")
            (directory / "s").write_text("in its way")

            until(lambda: "not to be made again" in agent.log)

            assert agent.stub.GetSite(pb.GetSiteRequest()).site.name
            assert agent.server_pid == server
