"""farspawn: launch, watch and stop processes on machines that belong to somebody else.

    with farspawn.Client() as site:
        process = site.launch(["python3", "train.py"])
        process.wait()

`AsyncClient` is the same for asyncio. What a caller needs is in `__all__`;
modules whose names begin with an underscore may change at any time.

Nothing of the client is imported before it is asked for: `farspawn.v1`, the
contract, lies below this package, and an agent needs nothing else of it.
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING

# Before grpc is imported: its fork handlers can crash or hang this process when
# anything in it forks (grpc/grpc #43055, #14258). After the import it does nothing.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
# Also read at the import. Otherwise gRPC tells on stderr of every restart of an
# agent ("Got goaway"), which is nothing to worry about.
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")

if TYPE_CHECKING:
    from farspawn._async_client import AsyncClient
    from farspawn._client import Client
    from farspawn._errors import (
        AddressError,
        CallTimeoutError,
        ClientClosedError,
        DrainingError,
        FarspawnError,
        InputClosedError,
        InputOffsetSkippedError,
        LaunchFailedError,
        LeaseExpiredError,
        LimitReachedError,
        LimitUnsupportedError,
        LogOffsetExpiredError,
        MessageTooLargeError,
        NotReadyError,
        NotServedError,
        PolicyDeniedError,
        ReaderTooSlowError,
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
        TemplateChangedError,
        UnauthenticatedError,
        UnsendableError,
        Violation,
        WaitTimeoutError,
    )
    from farspawn._input import AsyncInputWriter, InputWriter
    from farspawn._leases import AsyncLeaseKeeper, LeaseKeeper
    from farspawn._logs import AsyncLogReader, LogReader
    from farspawn._process import AsyncProcess, Process
    from farspawn._values import (
        Admission,
        Attempt,
        Cause,
        Checkpoint,
        Cleanup,
        CleanupOutcome,
        ContainmentTier,
        IntegerRange,
        LaunchFailure,
        LaunchPhase,
        Lease,
        LeaseAction,
        LimitKind,
        Limits,
        Load,
        LogChunk,
        LogStream,
        OomKill,
        Outcome,
        Parameter,
        PollAnswer,
        Readiness,
        Resources,
        ResourceUsage,
        RestartMode,
        RestartPolicy,
        SignalScope,
        Site,
        SiteState,
        StopPlan,
        StopScope,
        Survivor,
        Task,
        TaskChanged,
        TaskDeleted,
        TaskSpec,
        TaskState,
        TaskStatus,
        TaskTimes,
        Template,
        WatchEvent,
        WatchResumed,
    )

__all__ = [
    "AddressError",
    "Admission",
    "AsyncClient",
    "AsyncInputWriter",
    "AsyncLeaseKeeper",
    "AsyncLogReader",
    "AsyncProcess",
    "Attempt",
    "CallTimeoutError",
    "Cause",
    "Checkpoint",
    "Cleanup",
    "CleanupOutcome",
    "Client",
    "ClientClosedError",
    "ContainmentTier",
    "DrainingError",
    "FarspawnError",
    "InputClosedError",
    "InputOffsetSkippedError",
    "InputWriter",
    "IntegerRange",
    "LaunchFailedError",
    "LaunchFailure",
    "LaunchPhase",
    "Lease",
    "LeaseAction",
    "LeaseExpiredError",
    "LeaseKeeper",
    "LimitKind",
    "LimitReachedError",
    "LimitUnsupportedError",
    "Limits",
    "Load",
    "LogChunk",
    "LogOffsetExpiredError",
    "LogReader",
    "LogStream",
    "MessageTooLargeError",
    "NotReadyError",
    "NotServedError",
    "OomKill",
    "Outcome",
    "Parameter",
    "PolicyDeniedError",
    "PollAnswer",
    "Process",
    "ReaderTooSlowError",
    "Readiness",
    "RecoveringError",
    "RefusedError",
    "ResourceUsage",
    "Resources",
    "RestartMode",
    "RestartPolicy",
    "SignalScope",
    "Site",
    "SiteFaultError",
    "SiteState",
    "SiteUnavailableError",
    "SiteUnreachableError",
    "SpecInvalidError",
    "StopPlan",
    "StopScope",
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
    "Template",
    "TemplateChangedError",
    "UnauthenticatedError",
    "UnsendableError",
    "Violation",
    "WaitTimeoutError",
    "WatchEvent",
    "WatchResumed",
]

# Where they are, the cheap ones first.
_HOMES = ("_values", "_errors", "_logs", "_input", "_leases", "_process", "_client", "_async_client")

if not TYPE_CHECKING:  # a type checker would take any name for one of ours

    def __getattr__(name: str) -> object:
        if name in __all__:
            for home in _HOMES:
                module = import_module(f"farspawn.{home}")
                if hasattr(module, name):
                    globals()[name] = value = getattr(module, name)
                    return value
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
