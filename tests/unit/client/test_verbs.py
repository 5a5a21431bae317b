"""What is asked, before it is sent."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from farspawn import Cleanup, LogStream, SignalScope, TaskSpec, UnsendableError
from farspawn import _verbs as verbs
from farspawn._arguments import spec_of
from farspawn.v1 import launcher_pb2 as pb

CALLS = (
    verbs.launch("a", TaskSpec(("x",))),
    verbs.stop("a", None),
    verbs.poll(["a"], wait=None, since_revision=0, renew_leases=False),
    verbs.watch(pb.TaskFilter(), 0),
    verbs.list_page(pb.TaskFilter(), ""),
    verbs.read_logs(pb.ReadLogsRequest()),
    verbs.write_input("a", 0, b"x"),
    verbs.signal("a", 15, SignalScope.TREE),
    verbs.delete("a"),
    verbs.site(),
)


def test_every_method_of_the_contract_has_its_verb() -> None:
    service = pb.DESCRIPTOR.services_by_name["TaskLauncher"]
    expected = {method.name: method.input_type.full_name for method in service.methods}

    assert {call.method: call.request.DESCRIPTOR.full_name for call in CALLS} == expected
    assert service.full_name == verbs.SERVICE


def test_a_command_is_a_list() -> None:
    with pytest.raises(TypeError, match="ls -l"):
        spec_of("ls -l")
    with pytest.raises(TypeError, match="rm x"):
        spec_of(["ls"], cleanup=Cleanup("rm x"))


def test_values_for_a_template_are_texts() -> None:
    spec = spec_of(template="train", parameters={"epochs": 3, "kind": "a"}, template_revision="ab")

    assert (spec.argv, spec.template, spec.parameters) == ((), "train", {"epochs": "3", "kind": "a"})
    assert spec.template_revision == "ab"


def test_secrets_are_sent_and_never_shown() -> None:
    call = verbs.launch("a", TaskSpec(("x",)), {"TOKEN": "hunter2"})

    assert isinstance(call.request, pb.LaunchTaskRequest)
    assert dict(call.request.secrets) == {"TOKEN": "hunter2"}
    assert "hunter2" not in repr(call)


def test_a_secret_that_cannot_be_sent_is_not_shown_either() -> None:
    with pytest.raises(UnsendableError, match="TOKEN") as refused:
        verbs.launch("a", TaskSpec(("x",)), {"TOKEN": "hunter2\udcff"})

    assert "hunter2" not in f"{refused.value!r} {refused.value.__cause__!r} {refused.value.__context__!r}"


def test_ids_are_a_list() -> None:
    with pytest.raises(TypeError, match="abc"):
        verbs.poll("abc", wait=None, since_revision=0, renew_leases=False)


@pytest.mark.parametrize("task_id", ["\udcff"])
def test_text_that_is_not_unicode_cannot_be_sent(task_id: str) -> None:
    with pytest.raises(UnsendableError):
        verbs.stop(task_id, None)


def test_a_number_out_of_range_cannot_be_sent() -> None:
    with pytest.raises(UnsendableError):
        verbs.signal("a", 1 << 40, SignalScope.LEADER)


def test_the_time_a_poll_is_held_is_known_to_its_caller() -> None:
    call = verbs.poll(["a"], wait=timedelta(seconds=30), since_revision=5, renew_leases=True)

    assert call.wait == timedelta(seconds=30)
    assert isinstance(call.request, pb.PollRequest)
    assert call.request.wait.seconds == 30


def test_offset_zero_is_an_offset_and_no_lines_are_lines() -> None:
    def start(offset: int | None, tail_lines: int | None) -> str | None:
        request = verbs.logs_request("a", LogStream.STDOUT, offset=offset, tail_lines=tail_lines)
        return request.WhichOneof("start")

    assert (start(0, None), start(None, 0), start(None, None)) == ("offset", "tail_lines", None)
    with pytest.raises(ValueError, match="not at both"):
        start(0, 0)


def test_since_is_sent_in_utc() -> None:
    since = datetime(2026, 11, 28, 9, 30, tzinfo=timezone(timedelta(hours=1)))

    request = verbs.logs_request("a", LogStream.STDOUT, since=since)

    assert request.since.ToDatetime(tzinfo=UTC) == since
