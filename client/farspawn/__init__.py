"""farspawn: launch, watch and stop processes on machines that belong to somebody else.

    with farspawn.Client() as site:
        process = site.launch(["python3", "train.py"])
        process.wait()

`AsyncClient` is the same for asyncio. What a caller needs is in `__all__`;
modules whose names begin with an underscore may change at any time.
"""

import os

# Before grpc is imported: its fork handlers can crash or hang this process when
# anything in it forks (grpc/grpc #43055, #14258). After the import it does nothing.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
# Also read at the import. Otherwise gRPC tells on stderr of every restart of an
# agent ("Got goaway"), which is nothing to worry about.
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")

from farspawn._async_client import AsyncClient
from farspawn._async_process import AsyncProcess
from farspawn._client import Client
from farspawn._errors import (
    AddressError,
    CallTimeoutError,
    ClientClosedError,
    DrainingError,
    FarspawnError,
    LaunchFailedError,
    LimitReachedError,
    LogOffsetExpiredError,
    MessageTooLargeError,
    NotServedError,
    PolicyDeniedError,
    RecoveringError,
    RefusedError,
    SiteFaultError,
    SiteUnavailableError,
    SiteUnreachableError,
    SpecInvalidError,
    StorageFullError,
    TaskError,
    TaskIdReusedError,
    TaskLostError,
    TaskNotEndedError,
    TaskNotFoundError,
    TaskNotRunningError,
    UnauthenticatedError,
    UnsendableError,
    Violation,
    WaitTimeoutError,
)
from farspawn._process import Process
from farspawn._readers import AsyncLogReader, LogReader
from farspawn._values import (
    Cause,
    Checkpoint,
    ContainmentTier,
    LaunchFailure,
    LaunchPhase,
    Lease,
    LeaseAction,
    Limits,
    Load,
    LogChunk,
    LogStream,
    Outcome,
    PollAnswer,
    ResourceUsage,
    SignalScope,
    Site,
    SiteState,
    StopPlan,
    Survivor,
    Task,
    TaskChanged,
    TaskDeleted,
    TaskSpec,
    TaskState,
    TaskStatus,
    TaskTimes,
    WatchEvent,
    WatchResumed,
)

__all__ = [
    "AddressError",
    "AsyncClient",
    "AsyncLogReader",
    "AsyncProcess",
    "CallTimeoutError",
    "Cause",
    "Checkpoint",
    "Client",
    "ClientClosedError",
    "ContainmentTier",
    "DrainingError",
    "FarspawnError",
    "LaunchFailedError",
    "LaunchFailure",
    "LaunchPhase",
    "Lease",
    "LeaseAction",
    "LimitReachedError",
    "Limits",
    "Load",
    "LogChunk",
    "LogOffsetExpiredError",
    "LogReader",
    "LogStream",
    "MessageTooLargeError",
    "NotServedError",
    "Outcome",
    "PolicyDeniedError",
    "PollAnswer",
    "Process",
    "RecoveringError",
    "RefusedError",
    "ResourceUsage",
    "SignalScope",
    "Site",
    "SiteFaultError",
    "SiteState",
    "SiteUnavailableError",
    "SiteUnreachableError",
    "SpecInvalidError",
    "StopPlan",
    "StorageFullError",
    "Survivor",
    "Task",
    "TaskChanged",
    "TaskDeleted",
    "TaskError",
    "TaskIdReusedError",
    "TaskLostError",
    "TaskNotEndedError",
    "TaskNotFoundError",
    "TaskNotRunningError",
    "TaskSpec",
    "TaskState",
    "TaskStatus",
    "TaskTimes",
    "UnauthenticatedError",
    "UnsendableError",
    "Violation",
    "WaitTimeoutError",
    "WatchEvent",
    "WatchResumed",
]
