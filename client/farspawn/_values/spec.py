"""What to run, and how to end it: what a caller asks of a site."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from farspawn._values.wire_enum import WireEnum


class LeaseAction(WireEnum):
    """What happens to a task whose lease is over."""

    UNSPECIFIED = 0
    """Read as STOP."""
    STOP = 1
    """Stop it by its stop plan."""
    KILL = 2
    """SIGKILL at once."""


@dataclass(frozen=True, slots=True)
class Lease:
    """A claim on a task that must be renewed, or the site ends the task.

    Attributes:
        ttl: From one renewal until the lease is over, on the site's monotonic clock; 1 second to 3650 days.
        action: What to do when it is over.
    """

    ttl: timedelta
    action: LeaseAction = LeaseAction.STOP


@dataclass(frozen=True, slots=True)
class StopPlan:
    """How a task is stopped: linger, drain, then the signal to the whole tree, grace, then SIGKILL.

    None means the task's default, and where it has none the site's; zero means now.

    Attributes:
        linger: How long to do nothing yet, because the task is still needed. The site's default: zero.
        drain: How long to wait for the task to end by itself. The site's default: zero.
        signal: Linux signal number, 1 to 64, sent to every process. The site's default: SIGTERM.
        grace: Between the signal and SIGKILL. The site's default: 10 seconds. Zero: SIGKILL at once.
    """

    linger: timedelta | None = None
    drain: timedelta | None = None
    signal: int | None = None
    grace: timedelta | None = None

    @classmethod
    def at_once(cls) -> "StopPlan":
        """SIGKILL, now: every span zero, so that none of the task's defaults applies."""
        return cls(linger=timedelta(), drain=timedelta(), grace=timedelta())


@dataclass(frozen=True, slots=True)
class TaskSpec:
    """What to run. It never changes once a task exists.

    Attributes:
        argv: The program and its arguments.
        env: Environment on top of the site's minimal default; never the agent's own.
        working_directory: Absolute path of the directory to start in; empty: `/`.
        stop: How to stop the task when nobody says otherwise.
        max_runtime: How long one attempt may run; None: no limit of the task's own.
        lease: None: the task needs nobody to ask for it.
        labels: Names for the caller's own use, to filter by.
    """

    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict[str, str])
    working_directory: str = ""
    stop: StopPlan = StopPlan()
    max_runtime: timedelta | None = None
    lease: Lease | None = None
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
