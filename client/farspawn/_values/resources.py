"""What a task may use: asked for by a caller, and as a limit of a site."""

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """What a task may use. 0 and None: what the site allows; in a site's limits: no limit.

    Attributes:
        address_space_bytes: Virtual memory of one process (RLIMIT_AS).
        cpu_time: CPU time of one process (RLIMIT_CPU), rounded up to whole seconds: at its end it gets SIGXCPU, a
            second later SIGKILL.
        open_files: Of one process (RLIMIT_NOFILE).
        processes: Processes and threads: of the task's user together (RLIMIT_NPROC), and of the task where it has a
            cgroup.
        memory_bytes: Memory of all processes of the task together, where the site has cgroups with a memory controller.
        niceness: How far to stand back for others, 0 to 19: see nice(1). The site's own is the least.
        log_bytes: Kept of each output of each attempt, at least 64 KiB: beyond it the oldest bytes are let go.
    """

    address_space_bytes: int = 0
    cpu_time: timedelta | None = None
    open_files: int = 0
    processes: int = 0
    memory_bytes: int = 0
    niceness: int = 0
    log_bytes: int = 0
