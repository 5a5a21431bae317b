"""Whatever a message holds: what reads it says what is wrong, in words of the contract, or can do as it says.

A hundred thousand messages a run; FARSPAWN_FUZZ multiplies that.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

import pytest
from google.protobuf.message import DecodeError, Message
from hypothesis import given, settings
from hypothesis import strategies as st
from support.fuzz import Fuzz

from farspawn.v1 import launcher_pb2 as pb
from farspawn.v1 import task_pb2
from farspawn_server.policy import LOCAL, Admission, Caller, Ceilings, Limits, Parameter, Policy, Role, Template
from farspawn_server.rpc import requests
from farspawn_server.rpc.refusals import status_of
from farspawn_server.rpc.spec_replies import spec as spec_reply
from farspawn_server.store import codec
from farspawn_server.task import rules
from farspawn_server.task.errors import Refusal
from farspawn_server.task.spec import Owner, Resources

MESSAGES = 10_000 * int(os.environ.get("FARSPAWN_FUZZ", "1"))
TRAILERS_BYTES = 8192

TRAIN = Template(
    "train",
    "r",
    argv=("/bin/true", "{round}", "x{site}"),
    parameters={"round": Parameter(integers=(1, 9)), "site": Parameter(pattern=".*", default="north")},
    environment=("TOKEN",),
)
POLICIES = (
    Policy(),
    Policy(Admission.TEMPLATES, templates={"train": TRAIN}),
    Policy(
        Admission.PROGRAMS,
        programs={"/bin/true": ""},
        directories=("/srv",),
        templates={"train": TRAIN},
        ceilings=Ceilings(resources=Resources(1 << 30, 60, 64, 64, 1 << 30, 1, 1 << 20)),
    ),
)
CALLERS = (LOCAL, Caller(Owner("op"), Role.OPERATOR))


def launch(message: pb.LaunchTaskRequest) -> None:
    _, spec, secrets = requests.launch(message)
    rules.refuse_if_any(rules.bad_launch(message.task_id, spec, secrets))
    again = requests.spec(pb.LaunchTaskRequest(spec=spec_reply(spec)).spec)
    assert again == spec
    assert again.digest() == spec.digest()
    for policy in POLICIES:
        for caller in CALLERS:
            try:
                permit = policy.permit(caller, spec, secrets)
            except Refusal as refusal:
                fits_in_trailers(refusal)
                continue
            assert codec.encode_spec(spec)
            assert permit is None or codec.encode_permit(permit)
            if policy.admission_of(caller) is not Admission.ANY:
                assert permit is not None
                assert permit.terms.argv[0] == "/bin/true"


def stop(message: pb.StopTaskRequest) -> None:
    rules.refuse_if_any(rules.bad_plan(requests.stop_plan(message.plan, "plan"), "plan"))


def poll(message: pb.PollRequest) -> None:
    requests.wait(message)
    Limits().admit(0, 0, 0)


def watch(message: pb.WatchTasksRequest) -> None:
    requests.task_filter(message.filter)


def list_tasks(message: pb.ListTasksRequest) -> None:
    requests.task_filter(message.filter)
    assert 1 <= requests.page_size(message) <= 1000


def read_logs(message: pb.ReadLogsRequest) -> None:
    requests.output(message)
    requests.log_start(message)


def write_input(message: pb.WriteInputRequest) -> None:
    requests.input_part(message)


def signal(message: pb.SignalTaskRequest) -> None:
    requests.whole_tree(message)
    rules.refuse_if_any(rules.bad_signal(message.signal, "signal"))


READERS: Mapping[type, Callable[..., None]] = {
    pb.LaunchTaskRequest: launch,
    pb.StopTaskRequest: stop,
    pb.PollRequest: poll,
    pb.WatchTasksRequest: watch,
    pb.ListTasksRequest: list_tasks,
    pb.ReadLogsRequest: read_logs,
    pb.WriteInputRequest: write_input,
    pb.SignalTaskRequest: signal,
    pb.DeleteTaskRequest: lambda _: None,
    pb.GetSiteRequest: lambda _: None,
}


def read(kind: type, wire: bytes) -> None:
    try:
        message = kind.FromString(wire)  # type: ignore[attr-defined]  # all of them are messages
    except DecodeError:
        return
    try:
        READERS[kind](message)
    except Refusal as refusal:
        fits_in_trailers(refusal)


def fits_in_trailers(refusal: Refusal) -> None:
    _, message, trailers = status_of(refusal)
    size = len(message.encode()) * 3 + sum(len(name) + len(value) * 4 // 3 + 64 for name, value in trailers)
    assert size < TRAILERS_BYTES


RIGHT: Mapping[type, Message] = {
    pb.LaunchTaskRequest: pb.LaunchTaskRequest(task_id="a", spec=task_pb2.TaskSpec(argv=["/bin/true"]))
}


def test_every_method_has_its_reader() -> None:
    service = pb.DESCRIPTOR.services_by_name["TaskLauncher"]

    assert {method.input_type.name for method in service.methods} == {kind.__name__ for kind in READERS}


@pytest.mark.parametrize("kind", READERS, ids=lambda kind: kind.__name__)
def test_a_message_is_read_or_refused(kind: type) -> None:
    for seed in range(MESSAGES):
        wire = Fuzz(seed).wire(kind.DESCRIPTOR, RIGHT.get(kind))  # type: ignore[attr-defined]  # all are messages
        try:
            read(kind, wire)
        except Exception as error:
            raise AssertionError(f"seed {seed}: {wire.hex()[:2000]}") from error


@settings(max_examples=500, deadline=None)
@given(kind=st.sampled_from(list(READERS)), wire=st.binary(max_size=64))
def test_bytes_are_read_or_refused(kind: type, wire: bytes) -> None:
    read(kind, wire)
