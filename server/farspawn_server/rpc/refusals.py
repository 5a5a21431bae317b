"""The one table from a refusal to its status on the wire."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

import grpc
from google.protobuf.any_pb2 import Any
from google.protobuf.message import Message
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
    errors.TemplateChangedError: Status(grpc.StatusCode.FAILED_PRECONDITION),
    errors.UnauthenticatedError: Status(grpc.StatusCode.UNAUTHENTICATED),
    errors.LimitUnsupportedError: Status(grpc.StatusCode.FAILED_PRECONDITION),
    errors.LimitReachedError: Status(grpc.StatusCode.RESOURCE_EXHAUSTED, timedelta(seconds=5)),
    errors.StorageFullError: Status(grpc.StatusCode.RESOURCE_EXHAUSTED, timedelta(seconds=30)),
    errors.RecoveringError: Status(grpc.StatusCode.UNAVAILABLE, timedelta(milliseconds=200)),
    errors.DrainingError: Status(grpc.StatusCode.UNAVAILABLE, timedelta(seconds=1)),
    errors.ReaderTooSlowError: Status(grpc.StatusCode.UNAVAILABLE, timedelta(0)),
    errors.LogOffsetExpiredError: Status(grpc.StatusCode.OUT_OF_RANGE),
    errors.TaskNotRunningError: Status(grpc.StatusCode.FAILED_PRECONDITION),
    errors.TaskNotEndedError: Status(grpc.StatusCode.FAILED_PRECONDITION),
    errors.InputClosedError: Status(grpc.StatusCode.FAILED_PRECONDITION),
    errors.InputOffsetSkippedError: Status(grpc.StatusCode.OUT_OF_RANGE),
}

# Trailers above 8 KiB are dropped at random by the peer: what names a hundred bad fields is cut, not lost. Room is for
# base64, which makes four bytes of three, and for the message, of which gRPC may write each byte as three.
_MESSAGE_BYTES = 512
_METADATA_BYTES = 256
_VIOLATIONS_BYTES = 3072


def status_of(refusal: errors.Refusal) -> tuple[grpc.StatusCode, str, tuple[tuple[str, bytes], ...]]:
    """Return code, message and trailing metadata."""
    status = STATUS_OF[type(refusal)]
    message = _cut(str(refusal), _MESSAGE_BYTES)
    metadata = {name: _cut(value, _METADATA_BYTES) for name, value in refusal.metadata.items()}
    details: list[Message] = [error_details_pb2.ErrorInfo(reason=refusal.reason, domain=DOMAIN, metadata=metadata)]
    if isinstance(refusal, errors.SpecInvalidError):
        bad = error_details_pb2.BadRequest()
        for each in refusal.violations:
            if bad.ByteSize() > _VIOLATIONS_BYTES:
                break
            bad.field_violations.add(field=_cut(each.field, 256), description=_cut(each.description, 256))
        details.append(bad)
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


def _cut(text: str, size: int) -> str:
    """Return the beginning of a text, at most so many bytes of it in UTF-8."""
    return text[:size].encode()[:size].decode(errors="ignore")
