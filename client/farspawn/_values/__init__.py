"""What goes into a call and what comes out of it: frozen values, no protobuf."""

from farspawn._values.answers import (
    Checkpoint,
    LogChunk,
    LogStream,
    PollAnswer,
    TaskChanged,
    TaskDeleted,
    WatchEvent,
    WatchResumed,
)
from farspawn._values.outcome import Cause, CleanupOutcome, LaunchFailure, LaunchPhase, Outcome, ResourceUsage, Survivor
from farspawn._values.site import ContainmentTier, Limits, Load, Site, SiteState
from farspawn._values.spec import (
    Cleanup,
    Lease,
    LeaseAction,
    Readiness,
    RestartMode,
    RestartPolicy,
    SignalScope,
    StopPlan,
    TaskSpec,
)
from farspawn._values.status import Attempt, Task, TaskState, TaskStatus, TaskTimes

__all__ = [
    "Attempt",
    "Cause",
    "Checkpoint",
    "Cleanup",
    "CleanupOutcome",
    "ContainmentTier",
    "LaunchFailure",
    "LaunchPhase",
    "Lease",
    "LeaseAction",
    "Limits",
    "Load",
    "LogChunk",
    "LogStream",
    "Outcome",
    "PollAnswer",
    "Readiness",
    "ResourceUsage",
    "RestartMode",
    "RestartPolicy",
    "SignalScope",
    "Site",
    "SiteState",
    "StopPlan",
    "Survivor",
    "Task",
    "TaskChanged",
    "TaskDeleted",
    "TaskSpec",
    "TaskState",
    "TaskStatus",
    "TaskTimes",
    "WatchEvent",
    "WatchResumed",
]
