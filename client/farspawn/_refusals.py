"""From a gRPC status to an error of ours: the one table, and who reads it."""

from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from typing import TypeVar, cast

import grpc
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2, status_pb2

from farspawn import _errors as errors

DOMAIN = "farspawn"

REFUSAL_OF: Mapping[str, type[errors.RefusedError]] = {
    "TASK_NOT_FOUND": errors.TaskNotFoundError,
    "TASK_ID_REUSED": errors.TaskIdReusedError,
    "TEMPLATE_CHANGED": errors.TemplateChangedError,
    "SPEC_INVALID": errors.SpecInvalidError,
    "UNAUTHENTICATED": errors.UnauthenticatedError,
    "POLICY_DENIED": errors.PolicyDeniedError,
    "LIMIT_UNSUPPORTED": errors.LimitUnsupportedError,
    "LIMIT_REACHED": errors.LimitReachedError,
    "STORAGE_FULL": errors.StorageFullError,
    "DRAINING": errors.DrainingError,
    "READER_TOO_SLOW": errors.ReaderTooSlowError,
    "RECOVERING": errors.RecoveringError,
    "LOG_OFFSET_EXPIRED": errors.LogOffsetExpiredError,
    "TASK_NOT_RUNNING": errors.TaskNotRunningError,
    "TASK_NOT_ENDED": errors.TaskNotEndedError,
    "INPUT_CLOSED": errors.InputClosedError,
    "INPUT_OFFSET_SKIPPED": errors.InputOffsetSkippedError,
}

# Without a reason of ours the status came from gRPC itself, or from something
# between us and the site.
_REFUSAL_WITHOUT_REASON: Mapping[grpc.StatusCode, type[errors.RefusedError]] = {
    grpc.StatusCode.UNIMPLEMENTED: errors.NotServedError,
    grpc.StatusCode.UNAUTHENTICATED: errors.UnauthenticatedError,
    grpc.StatusCode.PERMISSION_DENIED: errors.PolicyDeniedError,
}

_FAULT_OF: Mapping[grpc.StatusCode, type[errors.FarspawnError]] = {
    grpc.StatusCode.UNAVAILABLE: errors.SiteUnreachableError,
    # A server that is shut down breaks off its calls; ours are cancelled only
    # by closing the client, which is told apart before this table is asked.
    grpc.StatusCode.CANCELLED: errors.SiteUnreachableError,
    grpc.StatusCode.DEADLINE_EXCEEDED: errors.CallTimeoutError,
    # What gRPC says of a message above an end's limit.
    grpc.StatusCode.RESOURCE_EXHAUSTED: errors.MessageTooLargeError,
}

_Detail = TypeVar("_Detail", bound=Message)


@contextmanager
def told_as_ours(target: str) -> Generator[None]:
    """Raises what gRPC raises, sync or aio, as an error of ours.

    Args:
        target: The site's address, for messages.
    """
    try:
        yield
    except grpc.RpcError as error:
        raise error_of(error, target) from error
    except DecodeError as error:
        raise errors.SiteFaultError(f"{target} answered with something else than the contract's") from error


def error_of(error: grpc.RpcError, target: str) -> errors.FarspawnError:
    """The error of ours for a failed call.

    Args:
        error: What gRPC raised.
        target: The site's address, for messages.
    """
    code, message = error.code(), error.details() or ""
    status = _status_of(error)
    info = _detail(status, error_details_pb2.ErrorInfo())
    if info is not None and info.domain == DOMAIN:
        return _refusal(REFUSAL_OF.get(info.reason, errors.RefusedError), code, message, status, info)
    if code in _REFUSAL_WITHOUT_REASON:
        return _refusal(_REFUSAL_WITHOUT_REASON[code], code, message, status, error_details_pb2.ErrorInfo())
    return _FAULT_OF.get(code, errors.SiteFaultError)(f"{target}: {_in_short(message) or code.name}")


def _in_short(message: str) -> str:
    # gRPC wraps "No such file or directory" in four layers, each with the address.
    if message.startswith("failed to connect to all addresses"):
        return f"nobody answers: {message.rpartition(': ')[2]}"
    return message


def _refusal(
    kind: type[errors.RefusedError],
    code: grpc.StatusCode,
    message: str,
    status: status_pb2.Status,
    info: error_details_pb2.ErrorInfo,
) -> errors.RefusedError:
    bad_request = _detail(status, error_details_pb2.BadRequest())
    retry = _detail(status, error_details_pb2.RetryInfo())
    bad_fields = bad_request.field_violations if bad_request is not None else ()
    return kind(
        message,
        code=code.name,
        reason=info.reason,
        metadata=info.metadata,
        violations=[errors.Violation(bad.field, bad.description) for bad in bad_fields],
        retry_after=retry.retry_delay.ToTimedelta() if retry is not None else None,
    )


def _status_of(error: grpc.RpcError) -> status_pb2.Status:
    # As grpc_status.rpc_status.from_call does, which has one function for sync
    # and another for aio, and raises when message and details disagree: no
    # reason to lose the refusal.
    # In aio it is another type with the same items; the stubs let neither be unpacked.
    metadata = cast("Iterable[tuple[str, str | bytes]]", error.trailing_metadata() or ())
    for key, value in metadata:
        if key == "grpc-status-details-bin" and isinstance(value, bytes):
            try:
                return status_pb2.Status.FromString(value)
            except DecodeError:
                break  # not a status: the code and the message must do
    return status_pb2.Status()


def _detail(status: status_pb2.Status, into: _Detail) -> _Detail | None:
    for packed in status.details:
        if packed.TypeName() == into.DESCRIPTOR.full_name and packed.Unpack(into):
            return into
    return None
