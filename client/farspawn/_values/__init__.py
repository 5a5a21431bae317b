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
from farspawn._values.resources import Resources
from farspawn._values.site import Admission, ContainmentTier, Limits, Load, Site, SiteState
from farspawn._values.spec import (
    Cleanup,
    Lease,
    LeaseAction,
    Readiness,
    RestartMode,
    RestartPolicy,
    SignalScope,
    StopPlan,
    StopScope,
    TaskSpec,
)
from farspawn._values.status import Attempt, Task, TaskState, TaskStatus, TaskTimes
from farspawn._values.template import IntegerRange, Parameter, Template

__all__ = [
    "Admission",
    "Attempt",
    "Cause",
    "Checkpoint",
    "Cleanup",
    "CleanupOutcome",
    "ContainmentTier",
    "IntegerRange",
    "LaunchFailure",
    "LaunchPhase",
    "Lease",
    "LeaseAction",
    "Limits",
    "Load",
    "LogChunk",
    "LogStream",
    "Outcome",
    "Parameter",
    "PollAnswer",
    "Readiness",
    "ResourceUsage",
    "Resources",
    "RestartMode",
    "RestartPolicy",
    "SignalScope",
    "Site",
    "SiteState",
    "StopPlan",
    "StopScope",
    "Survivor",
    "Task",
    "TaskChanged",
    "TaskDeleted",
    "TaskSpec",
    "TaskState",
    "TaskStatus",
    "TaskTimes",
    "Template",
    "WatchEvent",
    "WatchResumed",
]
