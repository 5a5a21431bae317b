"""How a process ended, as the kernel tells it: code or signal, core dump, usage. Facts only, no causes."""

from __future__ import annotations

import fcntl
import os
import resource
from dataclasses import dataclass

from farspawn_core.errors import ExitUnknownError

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
    """How a process ended. Exactly one of `code` and `signal` is set; `usage` is None if it was not our child."""

    code: int | None
    signal: int | None
    core_dumped: bool
    usage: Usage | None

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
    # Linux gives the resident set in KiB.
    return _decode(status, Usage(used.ru_utime, used.ru_stime, used.ru_maxrss * 1024))


# include/uapi/linux/pidfd.h, Linux 6.15: _IOWR(0xFF, 11, struct pidfd_info), whose first version has 64 bytes: a mask
# of what is asked for, and last of all the exit status in the form of wait(2).
_PIDFD_GET_INFO = (3 << 30) | (64 << 16) | (0xFF << 8) | 11
_PIDFD_INFO_EXIT = 1 << 3


def of_stranger(pidfd: int) -> Exit | None:
    """Return the exit of an ended process that is not our child; None until its parent has reaped it.

    A pidfd is readable from the end of the process on, and hung up from the reaping on: see pidfd_open(2).

    Args:
        pidfd: opened while the process lived.

    Raises:
        ExitUnknownError: this kernel does not tell; it takes Linux 6.15.
    """
    info = bytearray(64)
    info[:8] = _PIDFD_INFO_EXIT.to_bytes(8, "little")
    try:
        fcntl.ioctl(pidfd, _PIDFD_GET_INFO, info)
    except ProcessLookupError:
        raise ExitUnknownError("the kernel no longer knows how the process ended") from None
    except OSError as error:
        raise ExitUnknownError(f"the kernel does not tell how others' children end: {error.strerror}") from error
    if not int.from_bytes(info[:8], "little") & _PIDFD_INFO_EXIT:
        return None
    return _decode(int.from_bytes(info[60:64], "little"), None)


def of_zombie(pidfd: int) -> Exit | None:
    """Return the exit of an ended process that is not our child, while its parent has not reaped it; None: not known.

    A parent that never reaps would else keep it from us for ever.

    Args:
        pidfd: opened while the process lived.
    """
    pid = _pid_of(pidfd)
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            # The name may hold anything; the last ")" ends it. Then the fields of proc_pid_stat(5) from the third on.
            fields = file.read().rpartition(b")")[2].split()
        owner = os.stat(f"/proc/{pid}").st_uid
    except OSError:
        return None
    state, status = fields[0], int(fields[_EXIT_CODE])
    # The kernel shows 0 to whom it does not want to tell. The pid is asked for again: now it was its own all the time.
    if state != b"Z" or (status == 0 and owner != os.geteuid()) or _pid_of(pidfd) != pid:
        return None
    return _decode(status, None)


_EXIT_CODE = 52 - 3


def _pid_of(pidfd: int) -> int:
    """Return the pid of a pidfd's process; -1 once it is reaped."""
    with open(f"/proc/self/fdinfo/{pidfd}", encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("Pid:"))


def _decode(status: int, usage: Usage | None) -> Exit:
    killed = os.WIFSIGNALED(status)
    return Exit(
        code=None if killed else os.WEXITSTATUS(status),
        signal=os.WTERMSIG(status) if killed else None,
        core_dumped=killed and os.WCOREDUMP(status),
        usage=usage,
    )
