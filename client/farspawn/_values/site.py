"""What a site is and what it can do, so that callers can degrade."""

from dataclasses import dataclass
from datetime import datetime
from enum import unique

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
    """Orphaned descendants become children of the keeper."""
    COOKIE = 2
    """Strays are known by their environment."""
    CGROUP = 3
    """Each task has a cgroup v2 of its own."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a site allows. Zero: no limit.

    Attributes:
        max_live_tasks: Tasks that have not ended, all owners together.
        max_command_bytes: Bytes of argv and env together, each string counted with its NUL.
        max_poll_tasks: Task ids in one poll.
        max_ended_tasks: Ended tasks that are remembered; beyond it the oldest are deleted by themselves, with their
            logs.
    """

    max_live_tasks: int
    max_command_bytes: int
    max_poll_tasks: int
    max_ended_tasks: int


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
