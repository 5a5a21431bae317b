"""What to run, and how to end it: what a caller asks of a site."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from enum import unique

from farspawn._values.resources import Resources
from farspawn._values.wire_enum import WireEnum


@unique
class SignalScope(WireEnum):
    """Which processes of a task a signal goes to."""

    UNSPECIFIED = 0
    """Read as LEADER."""
    LEADER = 1
    """The first process."""
    TREE = 2
    """Everything the task started."""


@unique
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


@unique
class RestartMode(WireEnum):
    """After which ends a program is started again."""

    UNSPECIFIED = 0
    """Read as NEVER."""
    NEVER = 1
    """After none."""
    ON_FAILURE = 2
    """After an exit code other than 0, a signal, or a failed start."""
    ALWAYS = 3
    """After every end."""


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """When a program that ended is started again, as a new attempt of its task. Never after a stop.

    Attributes:
        mode: After which ends.
        max_restarts: How many restarts in a row, not counting those before the last healthy run. 0: no limit.
        initial_backoff: Before the first restart in a row; it doubles with each, and each is shortened by a random
            part of up to a half. The site's default: 1 second.
        max_backoff: The longest time before a restart. The site's default: 5 minutes.
        healthy_after: A run at least so long is healthy: the next restart is the first in a row again. The site's
            default: 10 minutes.
    """

    mode: RestartMode
    max_restarts: int = 0
    initial_backoff: timedelta | None = None
    max_backoff: timedelta | None = None
    healthy_after: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Cleanup:
    """A command that tidies up after each attempt, exactly once, when nothing of the attempt is left.

    It has the task's environment and working directory, and besides FARSPAWN_STATE, FARSPAWN_CAUSE, and
    FARSPAWN_EXIT_CODE or FARSPAWN_EXIT_SIGNAL where that is known. How it ends is told in `Outcome.cleanup`.

    Attributes:
        argv: The program and its arguments.
        timeout: How long it may run before it is killed. The site's default: 1 minute.
    """

    argv: Sequence[str]
    timeout: timedelta | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Readiness:
    """How to tell that a program is ready for its work. Give one; all None: a check only a newer client knows.

    Attributes:
        log_line: A line of its output matches this, whole: `*` stands for any text, all else for itself.
        tcp_port: Something on the site accepts TCP connections to this port of 127.0.0.1.
        file: This file is there. An absolute path.
    """

    log_line: str | None = None
    tcp_port: int | None = None
    file: str | None = None

    def __post_init__(self) -> None:
        if [self.log_line, self.tcp_port, self.file].count(None) < 2:
            raise ValueError("one check tells whether a task is ready, not several")


@unique
class StopScope(WireEnum):
    """Which processes of a task the signal of a stop is sent to."""

    UNSPECIFIED = 0
    """The task's default, else TREE."""
    TREE = 1
    """All of them."""
    LEADER = 2
    """The first process only, for a program that ends its own children; what is left after the grace gets SIGKILL."""


@dataclass(frozen=True, slots=True)
class StopPlan:
    """How a task is stopped: linger, drain, then the signal, grace, then SIGKILL to all that is left.

    None means the task's default, and where it has none the site's; zero means now.

    Attributes:
        linger: How long to do nothing yet, because the task is still needed. The site's default: zero.
        drain: How long to wait for the task to end by itself. The site's default: zero.
        signal: Linux signal number, 1 to 64. The site's default: SIGTERM.
        grace: Between the signal and SIGKILL. The site's default: 10 seconds. Zero: SIGKILL at once.
        scope: Which processes the signal is sent to.
    """

    linger: timedelta | None = None
    drain: timedelta | None = None
    signal: int | None = None
    grace: timedelta | None = None
    scope: StopScope = StopScope.UNSPECIFIED

    @classmethod
    def at_once(cls) -> "StopPlan":
        """SIGKILL, now: every span zero, so that none of the task's defaults applies."""
        return cls(linger=timedelta(), drain=timedelta(), grace=timedelta())


@dataclass(frozen=True, slots=True)
class TaskSpec:
    """What to run. It never changes once a task exists.

    Attributes:
        argv: The program and its arguments; empty: the template says.
        env: Environment on top of the site's minimal default; never the agent's own.
        working_directory: Absolute path of the directory to start in; empty: `/`, or the template's.
        stop: How to stop the task when nobody says otherwise.
        max_runtime: How long one attempt may run; None: no limit of the task's own.
        lease: None: the task needs nobody to ask for it.
        labels: Names for the caller's own use, to filter by.
        restart: When the program is started again; None: never.
        cleanup: What to run after each attempt that had a process; None: nothing.
        open_input: Whether it has an input to write to; False: its standard input is empty.
        readiness: How to tell that it is ready; None: `TaskStatus.ready` is never set, unless the template has a check.
        template: Name of a command that the site's owner wrote; empty: argv is what runs.
        parameters: Values for the template's parameters.
        template_revision: The revision that the template must have; empty: any.
        resources: What it may use; it can only lower what the site allows.
        merge_output: Whether standard error joins standard output, in the order of writing.
    """

    argv: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict[str, str])
    working_directory: str = ""
    stop: StopPlan = StopPlan()
    max_runtime: timedelta | None = None
    lease: Lease | None = None
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    restart: RestartPolicy | None = None
    cleanup: Cleanup | None = None
    open_input: bool = False
    readiness: Readiness | None = None
    template: str = ""
    parameters: Mapping[str, str] = field(default_factory=dict[str, str])
    template_revision: str = ""
    resources: Resources = field(default_factory=Resources)
    merge_output: bool = False
