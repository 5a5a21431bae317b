"""From a refusal on the wire to an error of ours."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from datetime import timedelta

import grpc
import grpc.aio
import pytest
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from farspawn import (
    CallTimeoutError,
    FarspawnError,
    LaunchFailedError,
    LimitReachedError,
    LogOffsetExpiredError,
    MessageTooLargeError,
    NotServedError,
    RefusedError,
    SiteFaultError,
    SiteUnavailableError,
    SiteUnreachableError,
    SpecInvalidError,
    TaskIdReusedError,
    TaskState,
    TaskStatus,
    TemplateChangedError,
    Violation,
    WaitTimeoutError,
)
from farspawn._refusals import REFUSAL_OF, error_of


def refused(code: grpc.StatusCode, message: str, *details: Message) -> grpc.aio.AioRpcError:
    status = status_pb2.Status(code=code.value[0], message=message)
    for detail in details:
        status.details.add().Pack(detail)
    metadata = grpc.aio.Metadata(("grpc-status-details-bin", status.SerializeToString()))
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), metadata, message)


def bare(code: grpc.StatusCode, message: str = "") -> grpc.aio.AioRpcError:
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(), message)


def leaves(kind: type[RefusedError]) -> Iterator[type[RefusedError]]:
    for child in kind.__subclasses__():
        yield from leaves(child) if child.__subclasses__() else [child]


def test_every_refusal_has_its_reason() -> None:
    # NotServedError is gRPC's own: the site that does not know a method gives no reason.
    assert set(REFUSAL_OF.values()) == set(leaves(RefusedError)) - {NotServedError}
    assert len(set(REFUSAL_OF.values())) == len(REFUSAL_OF)


def test_the_details_come_along() -> None:
    error = error_of(
        refused(
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            "too many tasks",
            error_details_pb2.RetryInfo(retry_delay={"seconds": 3}),
            error_details_pb2.ErrorInfo(
                reason="LIMIT_REACHED", domain="farspawn", metadata={"limit": "max_live_tasks"}
            ),
        ),
        "here",
    )

    assert isinstance(error, LimitReachedError)
    assert error.metadata == {"limit": "max_live_tasks"}
    assert error.retry_after == timedelta(seconds=3)
    assert (error.code, error.reason, str(error)) == ("RESOURCE_EXHAUSTED", "LIMIT_REACHED", "too many tasks")


def test_each_bad_field_is_named() -> None:
    error = error_of(
        refused(
            grpc.StatusCode.INVALID_ARGUMENT,
            "the request is bad",
            error_details_pb2.ErrorInfo(reason="SPEC_INVALID", domain="farspawn"),
            error_details_pb2.BadRequest(
                field_violations=[{"field": "spec.argv", "description": "is empty"}, {"field": "task_id"}]
            ),
        ),
        "here",
    )

    assert isinstance(error, SpecInvalidError)
    assert error.violations == (Violation("spec.argv", "is empty"), Violation("task_id", ""))
    assert "spec.argv: is empty" in str(error)


def test_expired_offsets_are_numbers() -> None:
    info = error_details_pb2.ErrorInfo(
        reason="LOG_OFFSET_EXPIRED", domain="farspawn", metadata={"earliest": "7", "next": "9"}
    )

    error = error_of(refused(grpc.StatusCode.OUT_OF_RANGE, "gone", info), "here")

    assert isinstance(error, LogOffsetExpiredError)
    assert (error.earliest, error.next) == (7, 9)


def test_a_changed_template_is_told_with_its_revision() -> None:
    info = error_details_pb2.ErrorInfo(
        reason="TEMPLATE_CHANGED", domain="farspawn", metadata={"template": "train", "revision": "ab12"}
    )

    error = error_of(refused(grpc.StatusCode.FAILED_PRECONDITION, "it changed", info), "here")

    assert isinstance(error, TemplateChangedError)
    assert (error.template, error.revision) == ("train", "ab12")


def test_a_reason_of_a_newer_site_is_a_refusal_all_the_same() -> None:
    info = error_details_pb2.ErrorInfo(reason="FULL_MOON", domain="farspawn")

    error = error_of(refused(grpc.StatusCode.FAILED_PRECONDITION, "not today", info), "here")

    assert type(error) is RefusedError
    assert error.reason == "FULL_MOON"


def test_a_reason_of_somebody_else_is_not_ours() -> None:
    info = error_details_pb2.ErrorInfo(reason="TASK_NOT_FOUND", domain="proxy.example")

    assert type(error_of(refused(grpc.StatusCode.NOT_FOUND, "x", info), "here")) is SiteFaultError


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (grpc.StatusCode.UNAVAILABLE, SiteUnreachableError),
        (grpc.StatusCode.CANCELLED, SiteUnreachableError),
        (grpc.StatusCode.DEADLINE_EXCEEDED, CallTimeoutError),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, MessageTooLargeError),
        (grpc.StatusCode.UNIMPLEMENTED, NotServedError),
        (grpc.StatusCode.INTERNAL, SiteFaultError),
        (grpc.StatusCode.UNKNOWN, SiteFaultError),
    ],
)
def test_without_a_reason_the_code_decides(code: grpc.StatusCode, kind: type[FarspawnError]) -> None:
    assert type(error_of(bare(code, "why"), "here")) is kind


def test_draining_is_told_apart_from_nobody_there() -> None:
    info = error_details_pb2.ErrorInfo(reason="DRAINING", domain="farspawn")

    error = error_of(refused(grpc.StatusCode.UNAVAILABLE, "bye", info), "here")

    assert isinstance(error, SiteUnavailableError)
    assert not isinstance(error, SiteUnreachableError)


def test_details_that_are_none_do_not_hide_the_refusal() -> None:
    metadata = grpc.aio.Metadata(("grpc-status-details-bin", b"\xff\xff"))
    error = grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, grpc.aio.Metadata(), metadata, "down")

    assert str(error_of(error, "here")) == "here: down"


def test_errors_survive_a_pickle() -> None:
    lost = TaskStatus("a", "u", TaskState.FAILED)
    for error in (
        TaskIdReusedError("no", code="ALREADY_EXISTS", reason="TASK_ID_REUSED", metadata={"given_digest": "1"}),
        WaitTimeoutError(["a", "b"]),
        LaunchFailedError(lost),
    ):
        copy = pickle.loads(pickle.dumps(error))

        assert (type(copy), str(copy), vars(copy)) == (type(error), str(error), vars(error))
