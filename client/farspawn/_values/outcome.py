"""How a task ended: separate facts, and None where a fact is not known."""

from dataclasses import dataclass
from datetime import timedelta
from enum import unique

from farspawn._values.wire_enum import WireEnum


@unique
class Cause(WireEnum):
    """Who or what brought a task to its end."""

    UNSPECIFIED = 0
    """The task has not ended, or a newer site has a cause unknown to this client."""
    COMPLETED = 1
    """It ended by itself: nobody had signalled it."""
    STOP_REQUESTED = 2
    """Somebody stopped it: see `Outcome.stopped_by`."""
    MAX_RUNTIME = 3
    """Its `max_runtime` was over."""
    LEASE_EXPIRED = 4
    """Nobody renewed its lease."""
    SITE_SHUTDOWN = 5
    """The site was shut down by its owner."""
    LAUNCH_FAILED = 6
    """The process could not be started."""
    HOST_REBOOTED = 7
    """The machine was rebooted while it ran."""
    SUPERVISION_LOST = 8
    """The process of the agent that held its exit (its shim) was killed."""


@unique
class LaunchPhase(WireEnum):
    """The steps of starting a process, in order."""

    UNSPECIFIED = 0
    """A newer site has a phase unknown to this client."""
    WORKING_DIRECTORY = 1
    """Entering the working directory."""
    PROGRAM = 2
    """Finding the program."""
    OUTPUT = 3
    """Opening the files that take its output."""
    SPAWN = 4
    """Creating the process and executing the program."""
    CONFINEMENT = 5
    """Taking on what the site's owner imposes: limits, another user."""


@unique
class OomKill(WireEnum):
    """Whether the kernel's out-of-memory killer struck in a task."""

    UNSPECIFIED = 0
    """Nobody can know, or a newer site has an answer unknown to this client."""
    NO = 1
    """It did not."""
    LIKELY = 2
    """It killed somebody of the site moments before the leader died of a SIGKILL that the site did not send."""
    YES = 3
    """It did."""


@dataclass(frozen=True, slots=True)
class LaunchFailure:
    """Why a process could not be started.

    Attributes:
        error_number: The kernel's error number, as Linux counts them.
        error_name: Its symbolic name, for instance ENOENT.
        phase: What was being done.
        path: The file it was done to.
    """

    error_number: int
    error_name: str
    phase: LaunchPhase
    path: str


@dataclass(frozen=True, slots=True)
class ResourceUsage:
    """What the leader and the descendants it waited for used, by wait4(2).

    Attributes:
        user_time: CPU time in user mode.
        system_time: CPU time in the kernel.
        max_resident_bytes: Largest resident set of any one process, in bytes.
    """

    user_time: timedelta
    system_time: timedelta
    max_resident_bytes: int


@dataclass(frozen=True, slots=True)
class Survivor:
    """A process that cannot be ended.

    Attributes:
        pid: Its process id on the site.
        name: The name of its program, at most 15 bytes.
        reason: Why it is still there, for people.
    """

    pid: int
    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class CleanupOutcome:
    """How a cleanup command ended. All None: nobody can know.

    Attributes:
        exit_code: Its exit code, 0 to 255. None: it has none, or that is unknown.
        signal: The Linux number of the signal that ended it. None: none did, or that is unknown.
        launch_failure: Why it was not started. None: it was.
        timed_out: Whether it was killed because its time was over.
    """

    exit_code: int | None = None
    signal: int | None = None
    launch_failure: LaunchFailure | None = None
    timed_out: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a task ended.

    Attributes:
        exit_code: The leader's exit code, 0 to 255. None: it did not exit by itself, or that is unknown.
        signal: The Linux number of the signal that ended the leader. None: none did, or that is unknown.
        core_dumped: Whether the kernel wrote a core dump.
        oom_kill: Whether the kernel killed a process of the task, not only its leader, for want of memory.
        cause: Why it ended.
        stopped_by: The identity that stopped it; empty unless the cause is STOP_REQUESTED.
        message: For people; no program should read it.
        usage: What it used. None: the task FAILED or is LOST.
        survivors: What could not be ended even by SIGKILL. Empty: nothing of the task runs.
        launch_failure: Why the process could not be started. None unless the task FAILED.
        cleanup: How the cleanup command ended. None: there was none.
    """

    exit_code: int | None = None
    signal: int | None = None
    core_dumped: bool = False
    oom_kill: OomKill = OomKill.UNSPECIFIED
    cause: Cause = Cause.UNSPECIFIED
    stopped_by: str = ""
    message: str = ""
    usage: ResourceUsage | None = None
    survivors: tuple[Survivor, ...] = ()
    launch_failure: LaunchFailure | None = None
    cleanup: CleanupOutcome | None = None

    @property
    def returncode(self) -> int | None:
        """As `subprocess.Popen` has it: the exit code, or minus the signal; None if neither is known."""
        if self.signal is not None:
            return -self.signal
        return self.exit_code
