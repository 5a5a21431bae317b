"""How a process ended, as the kernel tells it: code or signal, core dump, usage. Facts only, no causes."""

from __future__ import annotations

import os
import resource
from dataclasses import dataclass

# os.wait4 imports it after it has reaped: were there no descriptor left for that, an exit would be lost.
_LOADED_FOR_WAIT4 = resource


@dataclass(frozen=True, slots=True)
class Usage:
    """What a process and the descendants it waited for used, by wait4(2)."""

    user_seconds: float
    system_seconds: float
    max_resident_bytes: int


@dataclass(frozen=True, slots=True)
class Exit:
    """How a process ended. Exactly one of `code` and `signal` is set."""

    code: int | None
    signal: int | None
    core_dumped: bool
    usage: Usage

    @property
    def returncode(self) -> int:
        """The exit code, or minus the signal's number: the convention of `subprocess`."""
        if self.code is not None:
            return self.code
        assert self.signal is not None
        return -self.signal


def reap(pid: int) -> Exit:
    """Take the exit of an ended child of ours. From now on the pid can belong to anybody.

    Raises:
        ChildProcessError: it is not our child, or somebody else reaped it.
    """
    _, status, used = os.wait4(pid, 0)
    killed = os.WIFSIGNALED(status)
    return Exit(
        code=None if killed else os.WEXITSTATUS(status),
        signal=os.WTERMSIG(status) if killed else None,
        core_dumped=killed and os.WCOREDUMP(status),
        # Linux gives the resident set in KiB.
        usage=Usage(used.ru_utime, used.ru_stime, used.ru_maxrss * 1024),
    )
