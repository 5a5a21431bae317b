"""SignalTask, DeleteTask and GetSite."""

from __future__ import annotations

import os
import signal
import socket
import time
from importlib.metadata import version
from pathlib import Path

import grpc
import pytest
from support.agent import Agent, until_ended
from support.processes import LIKE_TORCHRUN, LIKE_TORCHRUN_SIZE
from support.refused import refused
from support.tasks import launch, members, reporting, status_of

from farspawn.v1 import launcher_pb2 as pb
from farspawn.v1 import site_pb2, task_pb2

LEADER = pb.SIGNAL_SCOPE_LEADER
TREE = pb.SIGNAL_SCOPE_TREE
UNTOLD = pb.SIGNAL_SCOPE_UNSPECIFIED


@pytest.mark.parametrize("scope", [UNTOLD, LEADER])
def test_a_signal_goes_to_the_leader_alone(agent: Agent, scope: pb.SignalScope.ValueType) -> None:
    body = "signal.pthread_sigmask(0, [10])\nif child(): report(); stay()\nreport(); signal.sigwait([10]); os._exit(6)"
    task_id = launch(agent.stub, reporting(body)).status.task_id
    members(agent.stub, task_id, 2)

    reply = agent.stub.SignalTask(pb.SignalTaskRequest(task_id=task_id, signal=signal.SIGUSR1, scope=scope))

    assert reply.signalled == 1
    assert until_ended(agent.stub, task_id).outcome.exit_code == 6


def test_a_signal_goes_to_the_whole_tree(agent: Agent) -> None:
    task_id = launch(agent.stub, reporting(LIKE_TORCHRUN)).status.task_id
    family = members(agent.stub, task_id, LIKE_TORCHRUN_SIZE)

    reply = agent.stub.SignalTask(pb.SignalTaskRequest(task_id=task_id, signal=signal.SIGUSR1, scope=TREE))
    ended = until_ended(agent.stub, task_id)

    assert reply.signalled == LIKE_TORCHRUN_SIZE
    assert ended.outcome.signal == signal.SIGUSR1
    assert not [member for member in family if member.alive]


def test_a_task_ended_by_a_callers_signal_was_not_stopped_by_the_site(agent: Agent) -> None:
    task_id = launch(agent.stub, ["sleep", "60"]).status.task_id

    agent.stub.SignalTask(pb.SignalTaskRequest(task_id=task_id, signal=signal.SIGKILL))

    ended = until_ended(agent.stub, task_id)
    assert ended.outcome.signal == signal.SIGKILL
    assert ended.outcome.stopped_by == ""
    assert not ended.times.HasField("killed")


def test_an_ended_task_cannot_be_signalled(agent: Agent) -> None:
    task_id = launch(agent.stub, ["true"]).status.task_id
    until_ended(agent.stub, task_id)

    told = refused(lambda: agent.stub.SignalTask(pb.SignalTaskRequest(task_id=task_id, signal=15)))

    assert told.code == grpc.StatusCode.FAILED_PRECONDITION
    assert (told.reason, told.domain) == ("TASK_NOT_RUNNING", "farspawn")
    assert told.metadata == {"task_id": task_id, "state": "exited"}


@pytest.mark.parametrize("number", [0, -1, 65, 2**31 - 1, -(2**31)])
def test_a_number_that_is_no_signal_is_refused(agent: Agent, number: int) -> None:
    task_id = launch(agent.stub, ["sleep", "60"]).status.task_id

    told = refused(lambda: agent.stub.SignalTask(pb.SignalTaskRequest(task_id=task_id, signal=number)))

    assert (told.code, list(told.violations)) == (grpc.StatusCode.INVALID_ARGUMENT, ["signal"])
    assert status_of(agent.stub, task_id).state == task_pb2.TASK_STATE_RUNNING


def test_an_unknown_scope_is_refused(agent: Agent) -> None:
    task_id = launch(agent.stub, ["sleep", "60"]).status.task_id

    request = pb.SignalTaskRequest(task_id=task_id, signal=15, scope=9)  # type: ignore[arg-type]
    told = refused(lambda: agent.stub.SignalTask(request))

    assert (told.code, list(told.violations)) == (grpc.StatusCode.INVALID_ARGUMENT, ["scope"])
    assert status_of(agent.stub, task_id).state == task_pb2.TASK_STATE_RUNNING


def test_a_deleted_task_is_unknown_and_its_logs_are_gone(agent: Agent) -> None:
    status = launch(agent.stub, ["echo", "hello"]).status
    until_ended(agent.stub, status.task_id)
    assert logs(agent, status.uid)

    agent.stub.DeleteTask(pb.DeleteTaskRequest(task_id=status.task_id))

    assert list(agent.stub.Poll(pb.PollRequest(task_ids=[status.task_id])).unknown_task_ids) == [status.task_id]
    assert not logs(agent, status.uid)


def logs(agent: Agent, uid: str) -> list[Path]:
    return list((agent.state / "logs").glob(f"{uid}*"))


def test_a_task_can_be_deleted_once(agent: Agent) -> None:
    task_id = launch(agent.stub, ["true"]).status.task_id
    until_ended(agent.stub, task_id)
    agent.stub.DeleteTask(pb.DeleteTaskRequest(task_id=task_id))

    told = refused(lambda: agent.stub.DeleteTask(pb.DeleteTaskRequest(task_id=task_id)))

    assert (told.code, told.reason) == (grpc.StatusCode.NOT_FOUND, "TASK_NOT_FOUND")


def test_a_task_that_lives_cannot_be_deleted(agent: Agent) -> None:
    task_id = launch(agent.stub, ["sleep", "60"]).status.task_id

    told = refused(lambda: agent.stub.DeleteTask(pb.DeleteTaskRequest(task_id=task_id)))

    assert told.code == grpc.StatusCode.FAILED_PRECONDITION
    assert (told.reason, told.domain) == ("TASK_NOT_ENDED", "farspawn")
    assert told.metadata == {"task_id": task_id, "state": "running"}


def test_the_site_says_what_it_is_and_what_it_does(agent: Agent) -> None:
    ended = launch(agent.stub, ["true"]).status.task_id
    until_ended(agent.stub, ended)
    before = agent.stub.GetSite(pb.GetSiteRequest()).site
    newest = launch(agent.stub, ["sleep", "60"]).status

    site = agent.stub.GetSite(pb.GetSiteRequest()).site

    assert site.name == socket.gethostname()
    assert site.version == version("farspawn")
    assert site.state == site_pb2.SITE_STATE_SERVING
    assert site.boot_id == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert site.keeper_started.ToNanoseconds() < site.server_started.ToNanoseconds() < time.time_ns()
    assert site_pb2.CONTAINMENT_TIER_SUBREAPER in site.containment
    assert site.limits.max_command_bytes == 1 << 20
    assert site.load.live_tasks == before.load.live_tasks + 1
    assert site.load.ended_tasks == before.load.ended_tasks >= 1
    assert site.revision >= newest.revision > before.revision


def test_log_files_are_for_the_owner_of_the_site_only(agent: Agent) -> None:
    status = launch(agent.stub, ["echo", "secret"]).status
    until_ended(agent.stub, status.task_id)

    files = [agent.state, agent.state / "logs", *logs(agent, status.uid), agent.state / "farspawn.db"]
    modes = {file.name: oct(os.stat(file).st_mode & 0o077) for file in files}

    assert agent.state.stat().st_mode & 0o077 == 0, modes
    assert all(file.stat().st_mode & 0o077 == 0 for file in logs(agent, status.uid)), modes
