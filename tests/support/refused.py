"""What a refused call says: its code and every detail, as a program in any language would read them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status


@dataclass(frozen=True, slots=True)
class Refused:
    """The status of a call that failed. `retry_after` is None where trying again does not help."""

    code: grpc.StatusCode
    message: str
    reason: str = ""
    domain: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    violations: Mapping[str, str] = field(default_factory=dict)
    retry_after: timedelta | None = None


def refused(call: Callable[[], object]) -> Refused:
    """Make a call that must be refused, and return what it was told."""
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return read(caught.value)


def read(error: grpc.RpcError) -> Refused:
    """Return what an error says."""
    assert isinstance(error, grpc.Call)
    info = error_details_pb2.ErrorInfo()
    bad = error_details_pb2.BadRequest()
    retry = error_details_pb2.RetryInfo()
    status = rpc_status.from_call(error)
    given = [] if status is None else status.details
    found = {part.DESCRIPTOR.full_name for part in (info, bad, retry) for each in given if each.Unpack(part)}
    return Refused(
        code=error.code(),
        message=error.details() or "",
        reason=info.reason,
        domain=info.domain,
        metadata=dict(info.metadata),
        violations={each.field: each.description for each in bad.field_violations},
        retry_after=retry.retry_delay.ToTimedelta() if "google.rpc.RetryInfo" in found else None,
    )
