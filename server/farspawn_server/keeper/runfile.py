"""The file of a run: evidence that it was begun, and by its lock whether its shim lives.

The shim makes it, of two only one can, holds a POSIX lock on it for as long as it lives, and makes it longer than empty
as soon as it has the lock, before it starts anybody. So the kernel says at any time, to any keeper, whether
anything was ever started for this run: nobody has to remember it.
"""

from __future__ import annotations

import enum
import errno
import fcntl
import os
import struct
import time
from dataclasses import dataclass

from farspawn_core import proc
from farspawn_core.proc import Process

# struct flock of fcntl(2) on 64-bit Linux: type, whence, start, length, pid, and padding.
_FLOCK = struct.Struct("hhqqi0q")
_WHOLE_FILE = (os.SEEK_SET, 0, 0, 0)
_HEAD = struct.Struct("<qqq")  # core/shim/protocol.h
_TICK = 1 / os.sysconf("SC_CLK_TCK")
_FORK_SECONDS = 1.0  # what a busy machine may need for it


class Evidence(enum.Enum):
    """What a run file says."""

    NONE = enum.auto()  # no run file: never begun
    UNHELD = enum.auto()  # no shim ever had it: nobody was started
    HELD = enum.auto()  # a shim lives
    LEFT = enum.auto()  # a shim lived, and is dead


def path(run: str) -> str:
    """Return where the run's file is, from the state directory."""
    return f"logs/{run.replace('/', '.')}"


def look(run: str) -> tuple[Evidence, int]:
    """Return what the file says, and the pid of the shim that holds it, or 0."""
    try:
        descriptor = _open(run)
    except FileNotFoundError:
        return Evidence.NONE, 0
    try:
        if holder := _holder(descriptor):
            return Evidence.HELD, holder
        # Looked at in this order: one that was locked and let go in between has its length.
        return (Evidence.LEFT if os.fstat(descriptor).st_size else Evidence.UNHELD), 0
    finally:
        os.close(descriptor)


def discard(run: str) -> bool:
    """Remove a file that no shim ever held, so that a late one finds it taken; False: one holds it, or did."""
    try:
        descriptor = _open(run)
    except FileNotFoundError:
        return True
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETLK, _FLOCK.pack(fcntl.F_WRLCK, *_WHOLE_FILE))
        if os.fstat(descriptor).st_size:
            return False
        os.ftruncate(descriptor, 1)
        os.unlink(path(run))
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EAGAIN):
            return False
        raise
    finally:
        os.close(descriptor)
    return True


@dataclass(frozen=True, slots=True)
class Head:
    """Who leads a run, as its shim wrote it down, times in nanoseconds; 0: not known, or not executed yet."""

    leader: int = 0
    started_at: int = 0
    started_monotonic: int = 0

    def find_leader(self) -> Process | None:
        """Return the leader; None: it has gone, whoever has its pid now."""
        process = proc.read(self.leader) if self.leader else None
        if process is None:
            return None
        # Both of the time before the machine slept: a leader from then is not found, a stranger never is.
        boot = time.clock_gettime(time.CLOCK_BOOTTIME) - time.clock_gettime(time.CLOCK_MONOTONIC)
        age = process.start_time * _TICK - self.started_monotonic / 1e9 - boot
        return process if -2 * _TICK <= age <= _FORK_SECONDS else None


def head(run: str) -> Head:
    """Return what the shim of a run wrote down."""
    try:
        descriptor = _open(run)
    except FileNotFoundError:
        return Head()
    try:
        data = os.pread(descriptor, _HEAD.size, 0)
    finally:
        os.close(descriptor)
    return Head(*_HEAD.unpack(data)) if len(data) == _HEAD.size else Head()


def _open(run: str) -> int:
    return os.open(path(run), os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)


def _holder(descriptor: int) -> int:
    kind, _, _, _, pid = _FLOCK.unpack(fcntl.fcntl(descriptor, fcntl.F_GETLK, _FLOCK.pack(fcntl.F_WRLCK, *_WHOLE_FILE)))
    return 0 if kind == fcntl.F_UNLCK else pid
