"""Where an agent listens, and who else may: one agent a state directory, one a socket, one a port."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from support.agent import SERVING, Agent, short_directory, until_ended
from support.command import farspawnd_says
from support.refused import refused
from support.tasks import launch, shell
from support.waiting import until

from farspawn.v1 import launcher_pb2 as pb
from farspawn.v1 import task_pb2


@pytest.fixture
def directory() -> Iterator[Path]:
    with short_directory() as path:
        yield path


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        number: int = probe.getsockname()[1]
        return number


def test_a_second_agent_on_the_same_state_is_refused(agent: Agent, directory: Path) -> None:
    said = farspawnd_says("--state", str(agent.state), "--listen", f"unix:{directory}/b.sock")

    assert said.code != 0
    assert str(agent.state) in said.stderr
    assert f"pid {agent.keeper_pid}" in said.stderr
    assert "Traceback" not in said.stderr
    assert agent.health() == SERVING


def test_a_second_agent_on_the_same_socket_is_refused(agent: Agent, directory: Path) -> None:
    said = farspawnd_says("--state", str(directory / "state"), "--listen", agent.address)

    assert said.code != 0
    assert f"another agent listens on {agent.address.removeprefix('unix:')}" in said.stderr
    assert "Traceback" not in said.stderr
    assert agent.health() == SERVING


@pytest.mark.slow
def test_a_second_agent_on_the_same_port_is_refused(directory: Path, port: int) -> None:
    address = f"127.0.0.1:{port}"
    with Agent(directory, "--insecure", listen=address) as first:
        said = farspawnd_says("--state", str(directory / "other"), "--listen", address, "--insecure")

        assert said.code != 0
        assert f"cannot listen on {address}" in said.stderr
        assert first.health() == SERVING


@pytest.mark.slow
def test_a_port_that_somebody_else_has_is_refused(directory: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"

        said = farspawnd_says("--state", str(directory / "state"), "--listen", address, "--insecure")

    assert said.code != 0
    assert f"cannot listen on {address}" in said.stderr


def test_an_agent_serves_on_a_loopback_port(directory: Path, port: int) -> None:
    config = directory / "site.toml"
    config.write_text('[policy]\nallow = "any"\n')
    with Agent(directory, "--insecure", "--config", str(config), listen=f"127.0.0.1:{port}") as agent:
        task_id = launch(agent.stub, shell("exit 3")).status.task_id

        assert until_ended(agent.stub, task_id).outcome.exit_code == 3


def test_a_socket_in_a_directory_that_others_may_enter_is_refused(directory: Path) -> None:
    shared = directory / "shared"
    shared.mkdir()
    shared.chmod(0o755)

    said = farspawnd_says("--state", str(directory / "state"), "--listen", f"unix:{shared}/a.sock")

    assert said.code != 0
    assert str(shared) in said.stderr
    assert "0700" in said.stderr


def test_the_directory_of_a_socket_is_made_for_its_owner_only(directory: Path) -> None:
    with Agent(directory, listen=f"unix:{directory}/made/deep/a.sock"):
        assert (directory / "made" / "deep").stat().st_mode & 0o777 == 0o700


def test_a_socket_left_over_by_a_dead_agent_is_taken_over(directory: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(f"{directory}/a.sock")

    with Agent(directory) as agent:
        assert agent.health() == SERVING


@pytest.mark.slow
def test_a_file_at_the_place_of_the_socket_is_not_lost_silently(directory: Path) -> None:
    precious = directory / "a.sock"
    precious.write_text("precious")

    said = farspawnd_says("--state", str(directory / "state"), "--listen", f"unix:{precious}")

    assert said.code != 0
    assert precious.read_text() == "precious"


def test_the_health_service_knows_the_agent_and_the_service(agent: Agent) -> None:
    assert agent.health("") == SERVING
    assert agent.health("farspawn.v1.TaskLauncher") == SERVING

    unknown = health_pb2.HealthCheckRequest(service="nobody")
    told = refused(lambda: health_pb2_grpc.HealthStub(agent.channel).Check(unknown))
    assert told.code == grpc.StatusCode.NOT_FOUND


def test_reflection_tells_the_whole_service(agent: Agent) -> None:
    database = ProtoReflectionDescriptorDatabase(agent.channel)

    service = DescriptorPool(database).FindServiceByName("farspawn.v1.TaskLauncher")

    assert "grpc.health.v1.Health" in database.get_services()
    assert [method.name for method in service.methods] == [
        method.name for method in pb.DESCRIPTOR.services_by_name["TaskLauncher"].methods
    ]


def test_limits_of_the_site_are_kept(directory: Path) -> None:
    config = directory / "site.toml"
    config.write_text("[limits]\nmax_live_tasks = 2\nmax_ended_tasks = 3\nmax_poll_tasks = 5\n")
    with Agent(directory, "--config", str(config)) as agent:
        for _ in range(2):
            launch(agent.stub, ["sleep", "60"])

        told = refused(lambda: launch(agent.stub, ["true"]))
        many = refused(lambda: agent.stub.Poll(pb.PollRequest(task_ids="abcdef")))

        assert (told.code, told.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "LIMIT_REACHED")
        assert (told.domain, dict(told.metadata)) == ("farspawn", {"limit": "max_live_tasks", "maximum": "2"})
        assert told.retry_after is not None
        assert many.code == grpc.StatusCode.INVALID_ARGUMENT


def test_the_oldest_ended_tasks_are_forgotten_beyond_the_limit(directory: Path) -> None:
    config = directory / "site.toml"
    config.write_text("[limits]\nmax_ended_tasks = 3\n")
    with Agent(directory, "--config", str(config)) as agent:
        ids = []
        for _ in range(6):
            ids.append(launch(agent.stub, ["true"]).status.task_id)
            until_ended(agent.stub, ids[-1])

        def remembered() -> list[str]:
            return [task.status.task_id for task in agent.stub.ListTasks(pb.ListTasksRequest()).tasks]

        until(lambda: len(remembered()) == 3)
        assert remembered() == ids[3:]
        until(lambda: len(list((agent.state / "logs").iterdir())) == 3)  # a run file of each; `true` is silent


def test_a_launch_repeated_after_its_task_was_forgotten_is_answered_and_not_carried_out(
    directory: Path,
) -> None:
    config = directory / "site.toml"
    config.write_text("[limits]\nmax_ended_tasks = 1\n")
    marks = directory / "marks"
    once = task_pb2.TaskSpec(argv=["/bin/sh", "-c", f"echo ran >> {marks}; exit 7"])
    with Agent(directory, "--config", str(config)) as agent:
        request = pb.LaunchTaskRequest(task_id="once", spec=once)
        uid = agent.stub.LaunchTask(request).task.status.uid
        until_ended(agent.stub, "once")
        until_ended(agent.stub, launch(agent.stub, ["true"]).status.task_id)
        until(lambda: agent.stub.Poll(pb.PollRequest(task_ids=["once"])).unknown_task_ids)

        answers = [agent.stub.LaunchTask(request)]
        agent.kill_server()
        answers.append(agent.stub.LaunchTask(request))
        other = refused(lambda: launch(agent.stub, ["true"], task_id="once"))

        for answer in answers:
            status = answer.task.status
            assert (answer.created, answer.forgotten, status.uid, status.outcome.exit_code) == (False, True, uid, 7)
            assert answer.task.spec.argv == once.argv
        assert other.reason == "TASK_ID_REUSED"
        assert marks.read_text() == "ran\n"

        agent.stub.DeleteTask(pb.DeleteTaskRequest(task_id="once"))
        assert agent.stub.LaunchTask(request).created
        until_ended(agent.stub, "once")
        assert marks.read_text() == "ran\nran\n"


def test_a_refused_launch_at_the_limit_is_possible_again_when_a_task_has_ended(directory: Path) -> None:
    config = directory / "site.toml"
    config.write_text("[limits]\nmax_live_tasks = 1\n")
    with Agent(directory, "--config", str(config)) as agent:
        first = launch(agent.stub, ["sleep", "60"]).status
        refused(lambda: launch(agent.stub, ["true"]))
        os.kill(first.pid, signal.SIGKILL)
        until_ended(agent.stub, first.task_id)

        assert until_ended(agent.stub, launch(agent.stub, ["true"]).status.task_id).state == task_pb2.TASK_STATE_EXITED
