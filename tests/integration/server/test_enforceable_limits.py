"""Limits that need a cgroup with controllers: told by the site, and refused where there is none, never ignored."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import grpc
import pytest
from support.agent import Agent
from support.command import farspawnd_says
from support.policed import policed
from support.refused import refused
from support.tasks import launch, new_id
from support.waiting import until

from farspawn.v1 import launcher_pb2 as pb
from farspawn.v1 import site_pb2, task_pb2
from farspawn_core import cgroup
from farspawn_server.keeper.guard import BAD_CONFIGURATION

HOME = cgroup.home()  # the agent's own, too: it starts where we are
CONTROLLERS = frozenset[str]() if HOME is None else HOME.controllers
KINDS = {
    "memory_bytes": ("memory", site_pb2.LIMIT_KIND_MEMORY_BYTES),
    "processes": ("pids", site_pb2.LIMIT_KIND_PROCESSES),
}


def test_the_site_tells_which_limits_it_can_enforce(agent: Agent) -> None:
    told = set(agent.stub.GetSite(pb.GetSiteRequest()).site.enforceable_limits)

    always = {
        site_pb2.LIMIT_KIND_ADDRESS_SPACE_BYTES,
        site_pb2.LIMIT_KIND_CPU_TIME,
        site_pb2.LIMIT_KIND_OPEN_FILES,
        site_pb2.LIMIT_KIND_NICENESS,
        site_pb2.LIMIT_KIND_LOG_BYTES,
    }
    assert told == always | {kind for controller, kind in KINDS.values() if controller in CONTROLLERS}


@pytest.fixture(params=KINDS)
def name(request: pytest.FixtureRequest) -> str:
    """A limit that cannot be enforced here."""
    name: str = request.param
    if KINDS[name][0] in CONTROLLERS:
        pytest.skip(f"{name} can be limited here")
    return name


def test_a_launch_that_asks_for_another_one_is_refused(agent: Agent, name: str) -> None:
    spec = task_pb2.TaskSpec(argv=["true"])
    setattr(spec.resources, name, 1 << 20)

    refusal = refused(lambda: agent.stub.LaunchTask(pb.LaunchTaskRequest(task_id=new_id(), spec=spec)))

    assert (refusal.code, refusal.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "LIMIT_UNSUPPORTED")
    assert refusal.metadata == {"field": f"spec.resources.{name}"}
    assert launch(agent.stub, ["true"])


def test_an_agent_whose_owner_asks_for_another_one_does_not_start(tmp_path: Path, name: str) -> None:
    config = tmp_path / "site.toml"
    config.write_text(f"state = '{tmp_path}/state'\n[ceilings]\n{name} = 1000\n")

    for more in ([], ["--check-config"]):
        said = farspawnd_says("--config", str(config), *more)

        assert said.code == BAD_CONFIGURATION
        assert f"{config}:3 ceilings.{name}: this site cannot enforce it" in said.stderr
    assert not (tmp_path / "state").exists()


def test_a_server_that_is_started_again_on_such_settings_ends_the_agent(name: str) -> None:
    with policed("") as site:
        site.config.write_text(f"[ceilings]\n{name} = 1000\n")

        os.kill(site.server_pid, signal.SIGKILL)

        assert site.wait() == BAD_CONFIGURATION
        assert f"{site.config}:2 ceilings.{name}: this site cannot enforce it" in site.log


def test_a_reload_of_such_settings_changes_nothing(name: str) -> None:
    with policed("[limits]\nmax_live_tasks = 7\n") as site:
        site.config.write_text(f"[limits]\nmax_live_tasks = 8\n[ceilings]\n{name} = 1000\n")

        os.kill(site.keeper_pid, signal.SIGHUP)

        until(lambda: "new settings cannot be used" in site.log)
        assert site.stub.GetSite(pb.GetSiteRequest()).site.limits.max_live_tasks == 7
