"""The table of refusals: whole, and every status small enough to arrive."""

from __future__ import annotations

import re
from pathlib import Path

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from hypothesis import given
from hypothesis import strategies as st

from farspawn_server.rpc.refusals import STATUS_OF, status_of
from farspawn_server.task import errors

SAMPLES: list[errors.Refusal] = [
    errors.SpecInvalidError([errors.Violation("field", "what is wrong")]),
    errors.TaskNotFoundError("a"),
    errors.TaskIdReusedError("a", existing="0" * 64, given="1" * 64),
    errors.PolicyDeniedError("no", rule="the rule"),
    errors.UnauthenticatedError("who?"),
    errors.LimitReachedError("max_live_tasks", 3),
    errors.StorageFullError("disk full"),
    errors.RecoveringError("a moment"),
    errors.DrainingError("the end"),
    errors.LogOffsetExpiredError(7, earliest=1, end=5),
    errors.TaskNotRunningError("a", "exited"),
    errors.TaskNotEndedError("a", "running"),
]


def refusals() -> set[type[errors.Refusal]]:
    found: set[type[errors.Refusal]] = set()
    pending: list[type[errors.Refusal]] = [errors.Refusal]
    while pending:
        for each in pending.pop().__subclasses__():
            found.add(each)
            pending.append(each)
    return found


def test_no_refusal_is_left_without_a_status() -> None:
    assert set(STATUS_OF) == refusals()


def test_the_tree_drawn_in_the_docstring_is_whole() -> None:
    drawn = re.findall(r"^\s+(\w+Error)\b", errors.__doc__ or "", re.MULTILINE)

    assert sorted(drawn) == sorted(each.__name__ for each in refusals())


def test_no_two_refusals_have_the_same_reason() -> None:
    reasons = [each.reason for each in refusals()]

    assert len(set(reasons)) == len(reasons)


def test_every_reason_is_in_the_contract() -> None:
    contract = (Path(__file__).parents[3] / "protos/farspawn/v1/launcher.proto").read_text(encoding="utf-8")

    missing = {each.reason for each in refusals() if each.reason not in contract}
    assert missing - {"NOT_SERVED"} == set()


@pytest.mark.parametrize("refusal", SAMPLES, ids=lambda refusal: type(refusal).__name__)
def test_a_status_says_why_to_people_and_to_programs(refusal: errors.Refusal) -> None:
    code, message, ((name, details),) = status_of(refusal)

    status = status_pb2.Status.FromString(details)
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    assert name == "grpc-status-details-bin"
    assert (status.code, status.message) == (code.value[0], message)
    assert message
    assert (info.reason, info.domain, dict(info.metadata)) == (refusal.reason, "farspawn", dict(refusal.metadata))


@pytest.mark.parametrize("refusal", SAMPLES, ids=lambda refusal: type(refusal).__name__)
def test_a_retry_is_offered_where_it_can_help_and_nowhere_else(refusal: errors.Refusal) -> None:
    code, _, ((_, details),) = status_of(refusal)

    given_details = status_pb2.Status.FromString(details).details
    offered = any(each.Is(error_details_pb2.RetryInfo.DESCRIPTOR) for each in given_details)
    assert offered == (code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED))


texts = st.one_of(st.text(max_size=300), st.integers(0, 5000).map(lambda size: "💥" * size))
many = st.lists(st.builds(errors.Violation, texts, texts), min_size=1, max_size=100).map(errors.SpecInvalidError)


@given(st.one_of(many, texts.map(errors.TaskNotFoundError)))
def test_no_status_is_too_large_for_the_trailers_it_travels_in(refusal: errors.Refusal) -> None:
    _, message, ((_, details),) = status_of(refusal)

    # gRPC writes a byte of the message that is not printable ASCII as three, and base64 makes four bytes of three.
    assert 3 * len(message.encode()) + len(details) * 4 / 3 < 8 * 1024 - 512
    assert status_pb2.Status.FromString(details).details
