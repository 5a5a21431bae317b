"""What can go wrong between asking for a process and knowing its end.

OSError
  SpawnError           the process was not started: errno, phase and path say why
FileNotFoundError
  ShimMissingError     this installation has no shim to start processes with
ChildProcessError
  ExitUnknownError     somebody else reaped the process: its exit status is gone
"""

from __future__ import annotations

import enum
import errno
import os

STARVATION = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN})
"""Errnos of a machine that is out of descriptors, memory or processes: it passes, and trying again helps."""


class Phase(enum.Enum):
    """The steps of starting a process, in order."""

    WORKING_DIRECTORY = "working_directory"
    PROGRAM = "program"
    OUTPUT = "output"
    CONFINEMENT = "confinement"
    SPAWN = "spawn"


class SpawnError(OSError):
    """The process was not started.

    Attributes:
        errno: the kernel's error number.
        phase: what was being done.
        filename: the file it was done to.
    """

    def __init__(self, error_number: int, phase: Phase, path: str) -> None:
        super().__init__(error_number, os.strerror(error_number), path)
        self.phase = phase

    def __str__(self) -> str:
        return f"{self.filename}: {self.strerror} ({self.phase.value})"


class ExitUnknownError(ChildProcessError):
    """The process has ended and its exit status went to another reaper, so it cannot be known."""


class ShimMissingError(FileNotFoundError):
    """The program that watches over a task is not where an installation puts it."""

    def __init__(self, path: str) -> None:
        super().__init__(errno.ENOENT, "no shim: it is compiled when farspawn is installed, by `pip install .`", path)
