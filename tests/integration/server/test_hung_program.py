"""A program that hangs in exec, as on a dead mount: it costs its own task and no other."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from support.agent import AT_ONCE, Agent, until_ended
from support.hanging import HungProgram, hung_program
from support.tasks import launch, new_id, plan, span, status_of, stop
from support.waiting import PATIENCE, until

from farspawn.v1 import launcher_pb2 as pb
from farspawn.v1 import task_pb2


@pytest.fixture
def hung(tmp_path: Path) -> Iterator[HungProgram]:
    with hung_program(tmp_path / "hung") as program:
        yield program


def test_the_launch_of_a_hung_program_is_answered_starting(agent: Agent, hung: HungProgram) -> None:
    status = launch(agent.stub, [hung.path]).status

    assert status.state == task_pb2.TASK_STATE_STARTING
    assert status.pid == 0


def test_a_hung_program_runs_once_it_is_let_go(agent: Agent, hung: HungProgram) -> None:
    task_id = launch(agent.stub, [hung.path]).status.task_id

    hung.let_go()

    assert until_ended(agent.stub, task_id).outcome.WhichOneof("ending") == "exit_code"


def test_a_hung_program_delays_no_other_call(agent: Agent, hung: HungProgram) -> None:
    request = pb.LaunchTaskRequest(task_id=new_id(), spec=task_pb2.TaskSpec(argv=[hung.path]))
    waiting = agent.stub.LaunchTask.future(request)
    hung.until_executing()
    before = time.monotonic()

    for _ in range(10):
        until_ended(agent.stub, launch(agent.stub, ["true"]).status.task_id)
    polled = status_of(agent.stub, request.task_id)

    assert polled.state == task_pb2.TASK_STATE_STARTING
    assert time.monotonic() - before < 10  # the program hangs for 45 seconds
    assert waiting.result().task.status.state == task_pb2.TASK_STATE_STARTING


def test_a_stop_ends_a_hung_start(agent: Agent, hung: HungProgram) -> None:
    task_id = launch(agent.stub, [hung.path]).status.task_id

    stop(agent.stub, task_id, plan(grace=0.1))

    ended = until_ended(agent.stub, task_id, timeout=PATIENCE)
    assert ended.outcome.signal == signal.SIGKILL
    assert ended.outcome.cause == task_pb2.CAUSE_STOP_REQUESTED


def test_a_kill_ends_a_hung_start(agent: Agent, hung: HungProgram) -> None:
    request = pb.LaunchTaskRequest(task_id=new_id(), spec=task_pb2.TaskSpec(argv=[hung.path]))
    waiting = agent.stub.LaunchTask.future(request)
    hung.until_executing()

    stop(agent.stub, request.task_id, AT_ONCE)

    assert until_ended(agent.stub, request.task_id, timeout=PATIENCE).outcome.signal == signal.SIGKILL
    waiting.result()


def test_a_stop_that_comes_right_after_the_launch_ends_a_hung_start(agent: Agent, hung: HungProgram) -> None:
    spec = task_pb2.TaskSpec(argv=[hung.path])
    ids = [new_id() for _ in range(20)]

    waiting = []
    for task_id in ids:
        waiting.append(agent.stub.LaunchTask.future(pb.LaunchTaskRequest(task_id=task_id, spec=spec)))
        until_stopped(agent, task_id)

    endings = {until_ended(agent.stub, task_id, timeout=PATIENCE).outcome.WhichOneof("ending") for task_id in ids}
    assert endings == {"signal"}
    for call in waiting:
        call.result()


def until_stopped(agent: Agent, task_id: str) -> None:
    until(lambda: is_stopped(agent, task_id), every=0.0005)


def is_stopped(agent: Agent, task_id: str) -> bool:
    """Stop a task, if there is one by now."""
    try:
        stop(agent.stub, task_id, AT_ONCE)
    except grpc.RpcError:
        return False
    return True


def test_a_lease_ends_a_hung_start(agent: Agent, hung: HungProgram) -> None:
    lease = task_pb2.Lease(ttl=span(1), action=task_pb2.LEASE_ACTION_KILL)
    task_id = launch(agent.stub, [hung.path], lease=lease).status.task_id

    ended = until_ended(agent.stub, task_id, timeout=PATIENCE)

    assert ended.outcome.cause == task_pb2.CAUSE_LEASE_EXPIRED


def test_a_repeated_launch_of_a_hung_program_starts_it_once(agent: Agent, hung: HungProgram) -> None:
    request = pb.LaunchTaskRequest(task_id=new_id(), spec=task_pb2.TaskSpec(argv=[hung.path]))

    first = agent.stub.LaunchTask(request)
    again = agent.stub.LaunchTask(request)

    assert (first.created, again.created) == (True, False)
    assert len(agent.task_processes()) == 1
