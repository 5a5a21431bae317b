"""The file of a run: evidence that it was begun, and by its lock whether its shim lives.

The shim makes it, of two only one can, holds a POSIX lock on it for as long as it lives, and makes it as long as its
head as soon as it has the lock, before it starts anybody. So the kernel says at any time, to any keeper, whether
anything was ever started for this run: nobody has to remember it.
"""

from __future__ import annotations

import enum
import errno
import fcntl
import os
import stat
import struct
import time
from dataclasses import dataclass

from farspawn_core import proc
from farspawn_core.proc import Process
from farspawn_core.shim import HEAD_BYTES

# struct flock of fcntl(2) on 64-bit Linux: type, whence, start, length, pid, and padding.
_FLOCK = struct.Struct("hhqqi0q")
_ASKED = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
_HEAD = struct.Struct("<qqq")  # core/shim/protocol.h
_TICK = 1 / os.sysconf("SC_CLK_TCK")
_FORK_SECONDS = 1.0  # what a busy machine may need for it
_NO_FILE = frozenset({errno.ELOOP, errno.EISDIR, errno.ENXIO})  # a symbolic link, a directory, a socket


class Evidence(enum.Enum):
    """What a run file says."""

    NONE = enum.auto()  # no run file: nobody was started, or a shim is about to make it
    UNHELD = enum.auto()  # no shim ever had it: nobody was started
    HELD = enum.auto()  # a shim lives
    LEFT = enum.auto()  # a shim lived, and is dead
    OTHER = enum.auto()  # no file is at its place, but something else: no shim can make it


def path(run: str) -> str:
    """Return where the run's file is, from the state directory."""
    return f"logs/{run.replace('/', '.')}"


def look(run: str) -> tuple[Evidence, int]:
    """Return what the file says, and the pid of the shim that holds it: 0 if nobody does, or it cannot be named.

    Raises:
        OSError: it cannot be known now.
    """
    try:
        descriptor = os.open(path(run), os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return Evidence.NONE, 0
    except OSError as error:
        if error.errno in _NO_FILE:
            return Evidence.OTHER, 0
        raise
    try:
        return _judge(descriptor)
    finally:
        os.close(descriptor)


def claim(run: str) -> bool:
    """Have nobody be started for this run, ever: who comes from now on finds it taken. False: somebody may have been.

    Raises:
        OSError: it cannot be done; if anything but a file is at its place, FileExistsError.
    """
    try:
        descriptor = os.open(path(run), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600)
    except OSError as error:
        if error.errno in _NO_FILE:
            raise _no_file(run) from error
        raise
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETLK, _ASKED)
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise _no_file(run)
        if found.st_size >= HEAD_BYTES:
            return False
        os.ftruncate(descriptor, 1)  # a shim that has made it, and not locked it yet, ends
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EAGAIN):
            return False
        raise
    finally:
        os.close(descriptor)
    return True


def discard(run: str) -> bool:
    """Remove the file of a run for which nobody was started; False: somebody may have been."""
    if not claim(run):
        return False
    os.unlink(path(run))
    return True


def _no_file(run: str) -> FileExistsError:
    return FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path(run))


def _judge(descriptor: int) -> tuple[Evidence, int]:
    holder = _holder(descriptor)
    if holder is None:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            return Evidence.OTHER, 0
        if found.st_size < HEAD_BYTES:
            return Evidence.UNHELD, 0
        # A shim may have come between the two looks. It takes its lock once: who is found without it now is dead.
        holder = _holder(descriptor)
    return (Evidence.LEFT, 0) if holder is None else (Evidence.HELD, holder)


def _holder(descriptor: int) -> int | None:
    kind, _, _, _, pid = _FLOCK.unpack(fcntl.fcntl(descriptor, fcntl.F_GETLK, _ASKED))
    return None if kind == fcntl.F_UNLCK else max(0, pid)  # of another pid namespace, or no process's: it has no pid


@dataclass(frozen=True, slots=True)
class Head:
    """Who leads a run, as its shim wrote it down; times in nanoseconds. 0: not known, or nothing was executed yet."""

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


NOBODY = Head()


def head(run: str) -> Head:
    """Return what the shim of a run wrote down, as far as it can be read."""
    try:
        descriptor = os.open(path(run), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return NOBODY
    try:
        data = os.pread(descriptor, _HEAD.size, 0)
    except OSError:
        return NOBODY
    finally:
        os.close(descriptor)
    return Head(*_HEAD.unpack(data)) if len(data) == _HEAD.size else NOBODY
