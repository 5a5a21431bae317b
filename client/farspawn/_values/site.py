"""What a site is and what it can do, so that callers can degrade."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import unique

from farspawn._values.resources import Resources
from farspawn._values.template import Template
from farspawn._values.wire_enum import WireEnum


@unique
class SiteState(WireEnum):
    """Whether a site takes new tasks."""

    UNSPECIFIED = 0
    """A newer site has a state unknown to this client."""
    SERVING = 1
    """It does."""
    RECOVERING = 2
    """The agent is taking stock of its tasks."""
    DRAINING = 3
    """The owner is shutting it down."""


@unique
class ContainmentTier(WireEnum):
    """A way of finding everything a task started."""

    UNSPECIFIED = 0
    """A newer site has a tier unknown to this client."""
    SUBREAPER = 1
    """Orphaned descendants become children of a process that the agent has for this task alone."""
    CGROUP = 3
    """Each task has a cgroup v2 of its own."""


@unique
class LimitKind(WireEnum):
    """A limit of `Resources`, by the name of its field."""

    UNSPECIFIED = 0
    """A newer site has a limit unknown to this client."""
    ADDRESS_SPACE_BYTES = 1
    """Of each process."""
    CPU_TIME = 2
    """Of each process."""
    OPEN_FILES = 3
    """Of each process."""
    PROCESSES = 4
    """Of each task."""
    MEMORY_BYTES = 5
    """Of each task."""
    NICENESS = 6
    """Of each process."""
    LOG_BYTES = 7
    """Of each output of each attempt."""
    USER_PROCESSES = 8
    """`processes`, but of the user that all tasks run as; in place of PROCESSES."""


@unique
class Admission(WireEnum):
    """Which programs the site's owner lets callers start."""

    UNSPECIFIED = 0
    """A newer site has a rule unknown to this client."""
    TEMPLATES = 1
    """Only templates."""
    PROGRAMS = 2
    """Templates, and the programs of a list."""
    ANY = 3
    """Any program."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a site allows. Zero and None: no limit.

    Attributes:
        max_live_tasks: Tasks that have not ended, all owners together.
        max_command_bytes: Bytes of argv and env together, each string counted with its NUL.
        max_poll_tasks: Task ids in one poll.
        max_ended_tasks: Ended tasks that are remembered; beyond it the oldest are deleted by themselves, with their
            logs.
        max_live_tasks_per_owner: Tasks of one owner that have not ended.
        max_launches_per_second: Tasks that one owner may launch in a second, in the long run; at least as many at once.
        max_runtime: The longest `max_runtime` of a task; also that of a task that asks for none.
        max_lease_ttl: The longest `Lease.ttl`; also the lease of a task that asks for none.
        resources: What a task may use at most; of the niceness, at least.
    """

    max_live_tasks: int
    max_command_bytes: int
    max_poll_tasks: int
    max_ended_tasks: int
    max_live_tasks_per_owner: int = 0
    max_launches_per_second: float = 0.0
    max_runtime: timedelta | None = None
    max_lease_ttl: timedelta | None = None
    resources: Resources = field(default_factory=Resources)


@dataclass(frozen=True, slots=True)
class Load:
    """How much is going on.

    Attributes:
        live_tasks: Tasks that have not ended.
        ended_tasks: Ended tasks that were not deleted yet.
    """

    live_tasks: int
    ended_tasks: int


@dataclass(frozen=True, slots=True)
class Site:
    """One agent and the machine it runs on.

    Attributes:
        name: The name its owner gave it.
        version: The agent's version.
        state: Whether it takes new tasks.
        boot_id: The kernel's boot id: another one means that the machine was rebooted.
        server_started: When this run of the gRPC server started; tasks may be older.
        keeper_started: When this run of the keeper started.
        containment: How the agent finds everything a task started; the more, the surer.
        limits: What it allows.
        load: What it is doing now.
        revision: That of the newest change of any task.
        admission: Which programs its owner lets callers start.
        templates: The commands that its owner wrote, by name.
        enforceable_limits: Which limits it can enforce; a launch that asks for another is refused.
    """

    name: str
    version: str
    state: SiteState
    boot_id: str
    server_started: datetime | None
    keeper_started: datetime | None
    containment: tuple[ContainmentTier, ...]
    limits: Limits
    load: Load
    revision: int
    admission: Admission = Admission.UNSPECIFIED
    templates: tuple[Template, ...] = ()
    enforceable_limits: tuple[LimitKind, ...] = ()
