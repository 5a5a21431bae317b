"""What goes into a call and what comes out of it: frozen values, no protobuf."""

from farspawn._values.answers import PollAnswer
from farspawn._values.events import Checkpoint, TaskChanged, TaskDeleted, WatchEvent, WatchResumed
from farspawn._values.outcome import Cause, LaunchFailure, LaunchPhase, Outcome, ResourceUsage, Survivor
from farspawn._values.output import LogChunk, LogStream
from farspawn._values.signals import SignalScope
from farspawn._values.site import ContainmentTier, Limits, Load, Site, SiteState
from farspawn._values.spec import Lease, LeaseAction, StopPlan, TaskSpec
from farspawn._values.status import Task, TaskState, TaskStatus, TaskTimes

__all__ = [
    "Cause",
    "Checkpoint",
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
    "ResourceUsage",
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
