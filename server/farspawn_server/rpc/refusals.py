"""The one table from a refusal to its status on the wire."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

import grpc
from google.protobuf.any_pb2 import Any
from google.rpc import error_details_pb2, status_pb2

from farspawn_server.task import errors

DOMAIN = "farspawn"


@dataclass(frozen=True, slots=True)
class Status:
    """A code, and after which span trying again may help; None: it will not."""

    code: grpc.StatusCode
    retry_after: timedelta | None = None


STATUS_OF: Mapping[type[errors.Refusal], Status] = {
    errors.SpecInvalidError: Status(grpc.StatusCode.INVALID_ARGUMENT),
    errors.TaskNotFoundError: Status(grpc.StatusCode.NOT_FOUND),
    errors.TaskIdReusedError: Status(grpc.StatusCode.ALREADY_EXISTS),
    errors.PolicyDeniedError: Status(grpc.StatusCode.PERMISSION_DENIED),
    errors.UnauthenticatedError: Status(grpc.StatusCode.UNAUTHENTICATED),
    errors.LimitReachedError: Status(grpc.StatusCode.RESOURCE_EXHAUSTED, timedelta(seconds=5)),
    errors.StorageFullError: Status(grpc.StatusCode.RESOURCE_EXHAUSTED, timedelta(seconds=30)),
    errors.RecoveringError: Status(grpc.StatusCode.UNAVAILABLE, timedelta(milliseconds=200)),
    errors.DrainingError: Status(grpc.StatusCode.UNAVAILABLE, timedelta(seconds=1)),
    errors.LogOffsetExpiredError: Status(grpc.StatusCode.OUT_OF_RANGE),
    errors.TaskNotRunningError: Status(grpc.StatusCode.FAILED_PRECONDITION),
    errors.TaskNotEndedError: Status(grpc.StatusCode.FAILED_PRECONDITION),
    errors.InputClosedError: Status(grpc.StatusCode.FAILED_PRECONDITION),
    errors.InputOffsetSkippedError: Status(grpc.StatusCode.OUT_OF_RANGE),
}

# Trailers above 8 KiB are dropped at random by the peer: what names a hundred bad fields is cut, not lost.
_MOST_VIOLATIONS = 16
_LONGEST_TEXT = 2048


def status_of(refusal: errors.Refusal) -> tuple[grpc.StatusCode, str, tuple[tuple[str, bytes], ...]]:
    """Return code, message and trailing metadata."""
    status = STATUS_OF[type(refusal)]
    message = str(refusal)[:_LONGEST_TEXT]
    details = [error_details_pb2.ErrorInfo(reason=refusal.reason, domain=DOMAIN, metadata=dict(refusal.metadata))]
    if isinstance(refusal, errors.SpecInvalidError):
        violations = [
            error_details_pb2.BadRequest.FieldViolation(field=each.field[:128], description=each.description[:256])
            for each in refusal.violations[:_MOST_VIOLATIONS]
        ]
        details.append(error_details_pb2.BadRequest(field_violations=violations))
    if status.retry_after is not None:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromTimedelta(status.retry_after)
        details.append(retry)
    packed: list[Any] = []
    for detail in details:
        packed.append(Any())
        packed[-1].Pack(detail)
    number: int = status.code.value[0]
    rich = status_pb2.Status(code=number, message=message, details=packed)
    return status.code, message, (("grpc-status-details-bin", rich.SerializeToString()),)
