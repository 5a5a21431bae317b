"""A program whose execution hangs in the kernel, as on a dead network mount, for as long as a test wants.

A write lease on the program's file (fcntl(2), F_SETLEASE) makes the open inside execve(2) wait until the lease is given
back, or for /proc/sys/fs/lease-break-time seconds, normally 45. Needs no root, only to own the file.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from support.waiting import until


class HungProgram:
    """A program that exits with 0, once it is let go."""

    def __init__(self, path: Path) -> None:
        """Make the program at `path` and take the lease."""
        shutil.copy("/bin/true", path)
        path.chmod(0o755)
        self.path = str(path)
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        # The kernel asks for the lease by a signal; SIGIO would end this process, SIGURG is ignored by default.
        fcntl.fcntl(self._descriptor, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(self._descriptor, fcntl.F_SETLEASE, fcntl.F_WRLCK)

    def until_executing(self) -> None:
        """Wait for somebody to hang in its execution."""
        until(lambda: fcntl.fcntl(self._descriptor, fcntl.F_GETLEASE) != fcntl.F_WRLCK)

    def let_go(self) -> None:
        """Let whoever hangs go on. Safe to repeat."""
        with suppress(BlockingIOError):  # the kernel took the lease back: its patience was over
            fcntl.fcntl(self._descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)

    def close(self) -> None:
        self.let_go()
        os.close(self._descriptor)


@contextmanager
def hung_program(path: Path) -> Iterator[HungProgram]:
    """Make a program at `path` that hangs until it is let go, at the latest on leaving."""
    program = HungProgram(path)
    try:
        yield program
    finally:
        program.close()
