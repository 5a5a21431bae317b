"""What may be imposed on a process when it is started. Values, and the check of its working directory."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from dataclasses import dataclass

from farspawn_core.errors import Phase, SpawnError


@dataclass(frozen=True, slots=True, kw_only=True)
class Confinement:
    """What is imposed on one process, and inherited by all it starts. Nothing by default.

    The limits of setrlimit(2) are soft and hard at once, but for that second, and never above our own hard ones.

    Attributes:
        directories: absolute; its working directory must be one of these or within, symbolic links resolved on both
            sides when it is started. Empty: anywhere. Once it runs it may go where its user may.
        sha256: of its program's file, in lower-case hexadecimal; empty: any. See `farspawn_core.pinned`.
        user: name of the user that it runs as, with that user's groups and no way back; empty: ours.
        address_space_bytes: RLIMIT_AS, of each process; 0: ours.
        cpu_seconds: RLIMIT_CPU, of each process: SIGXCPU, a second later SIGKILL; 0: ours.
        open_files: RLIMIT_NOFILE, of each process; 0: ours.
        processes: RLIMIT_NPROC, of its user in all, threads included; the kernel does not hold root to it. 0: ours.
        niceness: added to ours, see nice(1).
        cgroup: directory of a cgroup (v2) that it is born into, if the kernel lets us; empty: ours.
    """

    directories: Sequence[str] = ()
    sha256: str = ""
    user: str = ""
    address_space_bytes: int = 0
    cpu_seconds: int = 0
    open_files: int = 0
    processes: int = 0
    niceness: int = 0
    cgroup: str = ""

    @property
    def needs_executor(self) -> bool:
        """Whether posix_spawn(3) alone cannot do it: see `farspawn_core.executor`."""
        limited = self.address_space_bytes or self.cpu_seconds or self.open_files or self.processes
        return bool(limited or self.user or self.niceness or self.cgroup)


def check_within(descriptor: int, directories: Sequence[str], path: str) -> None:
    """Refuse a working directory that is in none of these.

    The descriptor is asked, not the path: the process is started in what it stands for, whatever became of the path.

    Args:
        descriptor: of the directory.
        directories: see `Confinement`; empty: any will do.
        path: what it was opened by, for the error.

    Raises:
        SpawnError: EACCES in Phase.WORKING_DIRECTORY.
    """
    if not directories:
        return
    real = os.readlink(f"/proc/self/fd/{descriptor}")
    for directory in directories:
        root = os.path.realpath(directory)
        # A relative one would depend on where we happen to be: it admits nothing.
        if os.path.isabs(directory) and (real == root or real.startswith(root.rstrip("/") + "/")):
            return
    raise SpawnError(errno.EACCES, Phase.WORKING_DIRECTORY, path)
