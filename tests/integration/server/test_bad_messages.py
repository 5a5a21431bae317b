"""Messages that are none: every method answers, promptly, and says what is wrong."""

from __future__ import annotations

import time

import grpc
import pytest
from support import raw
from support.agent import Agent, until_ended
from support.refused import refused
from support.tasks import launch, new_id, span
from support.waiting import PATIENCE

from farspawn.v1 import launcher_pb2 as pb
from farspawn.v1 import task_pb2
from farspawn_server.rpc.parsing import MOST_BYTES

UNARY = [method for method in raw.METHODS if method not in ("WatchTasks", "ReadLogs", "WriteInput")]
# Field 1 is of wire type 2 everywhere; a length that reaches past the end is no message of any type.
GARBAGE = [b"\xff" * 64, b"\x0a\xff\xff\xff\xff\x0f"]


@pytest.mark.parametrize("method", raw.METHODS)
def test_a_call_that_is_half_closed_without_a_message_is_refused_at_once(agent: Agent, method: str) -> None:
    before = time.monotonic()

    told = refused(lambda: raw.call(agent.channel, method, []))

    assert (told.code, told.reason, told.domain) == (grpc.StatusCode.INVALID_ARGUMENT, "SPEC_INVALID", "farspawn")
    assert time.monotonic() - before < 5


def test_a_hundred_half_closed_calls_lock_nobody_out(agent: Agent) -> None:
    for _ in range(100):
        refused(lambda: raw.call(agent.channel, "LaunchTask", []))

    assert until_ended(agent.stub, launch(agent.stub, ["true"]).status.task_id, timeout=PATIENCE)


@pytest.mark.parametrize("method", raw.METHODS)
@pytest.mark.parametrize("garbage", GARBAGE, ids=["noise", "cut"])
def test_bytes_that_are_no_message_are_refused(agent: Agent, method: str, garbage: bytes) -> None:
    told = refused(lambda: raw.call(agent.channel, method, [garbage]))

    assert (told.code, told.reason, told.domain) == (grpc.StatusCode.INVALID_ARGUMENT, "SPEC_INVALID", "farspawn")


@pytest.mark.parametrize("method", ["LaunchTask", "StopTask", "Poll", "ReadLogs", "WriteInput", "DeleteTask"])
def test_a_text_that_is_no_utf8_is_refused(agent: Agent, method: str) -> None:
    told = refused(lambda: raw.call(agent.channel, method, [b"\x0a\x02\xff\xfe"]))

    assert (told.code, told.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "SPEC_INVALID")


EMPTY_IS_REFUSED = {
    "LaunchTask": (grpc.StatusCode.INVALID_ARGUMENT, "SPEC_INVALID"),
    "StopTask": (grpc.StatusCode.NOT_FOUND, "TASK_NOT_FOUND"),
    "Poll": (grpc.StatusCode.INVALID_ARGUMENT, "SPEC_INVALID"),
    "ReadLogs": (grpc.StatusCode.NOT_FOUND, "TASK_NOT_FOUND"),
    "SignalTask": (grpc.StatusCode.INVALID_ARGUMENT, "SPEC_INVALID"),
    "DeleteTask": (grpc.StatusCode.NOT_FOUND, "TASK_NOT_FOUND"),
}


@pytest.mark.parametrize("method", EMPTY_IS_REFUSED)
def test_an_empty_message_is_refused_where_a_field_is_required(agent: Agent, method: str) -> None:
    told = refused(lambda: raw.call(agent.channel, method, [b""]))

    assert (told.code, told.reason) == EMPTY_IS_REFUSED[method]


@pytest.mark.parametrize("method", ["ListTasks", "GetSite"])
def test_an_empty_message_is_answered_where_nothing_is_required(agent: Agent, method: str) -> None:
    assert len(raw.call(agent.channel, method, [b""])) == 1


@pytest.mark.parametrize("method", [each for each in UNARY if each != "SignalTask"])
def test_a_second_message_does_not_hang_a_unary_call(agent: Agent, method: str) -> None:
    known = launch(agent.stub, ["true"], task_id=new_id()).status.task_id
    until_ended(agent.stub, known)
    message = {
        "LaunchTask": pb.LaunchTaskRequest(task_id=new_id(), spec=task_pb2.TaskSpec(argv=["true"])),
        "StopTask": pb.StopTaskRequest(task_id=known),
        "Poll": pb.PollRequest(task_ids=[known]),
        "ListTasks": pb.ListTasksRequest(),
        "DeleteTask": pb.DeleteTaskRequest(task_id=known),
        "GetSite": pb.GetSiteRequest(),
    }[method].SerializeToString()

    assert len(raw.call(agent.channel, method, [message, message], timeout=PATIENCE)) == 1


def test_unknown_fields_of_a_newer_client_are_ignored(agent: Agent) -> None:
    message = pb.PollRequest(task_ids=["nobody"]).SerializeToString() + b"\x9a\x3f\x03new"  # field 1011

    (answer,) = raw.call(agent.channel, "Poll", [message])

    assert list(pb.PollResponse.FromString(answer).unknown_task_ids) == ["nobody"]


def test_a_method_that_is_none_is_unimplemented(agent: Agent) -> None:
    assert refused(lambda: raw.call(agent.channel, "NoSuchMethod", [b""])).code == grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize("method", raw.METHODS)
def test_a_message_above_the_bound_of_its_method_is_not_even_parsed(agent: Agent, method: str) -> None:
    told = refused(lambda: raw.call(agent.channel, method, [b"\xff" * (MOST_BYTES[method] + 1)]))

    assert (told.code, told.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "SPEC_INVALID")
    assert told.message.endswith(f"a request of {method} has at most {MOST_BYTES[method]}")


def test_a_message_above_the_limit_of_the_server_is_refused(agent: Agent) -> None:
    told = refused(lambda: raw.call(agent.channel, "LaunchTask", [b"\0" * (5 << 20)]))

    assert told.code == grpc.StatusCode.RESOURCE_EXHAUSTED


def test_a_call_that_its_client_gives_up_leaves_the_server_well(agent: Agent) -> None:
    status = launch(agent.stub, ["sleep", "60"]).status
    request = pb.PollRequest(task_ids=[status.task_id], wait=span(300), since_revision=status.revision)
    for _ in range(50):
        agent.stub.Poll.future(request).cancel()

    told = refused(lambda: agent.stub.Poll(request, timeout=0.05))

    assert told.code == grpc.StatusCode.DEADLINE_EXCEEDED
    assert agent.stub.GetSite(pb.GetSiteRequest()).site.load.live_tasks == 1
