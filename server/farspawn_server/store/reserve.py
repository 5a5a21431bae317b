"""Room on the disk that is kept for what must be stored even when the disk is full: that tasks are stopped, and end."""

from __future__ import annotations

import errno
import logging
import os
import time
from pathlib import Path

log = logging.getLogger(__name__)

_MOST_BYTES = 4 << 20
"""As much as SQLite's log grows to before it is written over from the beginning."""
_PART_OF_DISK = 16
_TRY_AGAIN_SECONDS = 1.0


class Reserve:
    """A file that takes room and holds nothing. Used from one thread.

    Who fills the disk can take the room the moment it is given back: this makes it likely, not certain, that a change
    finds some. See docs/adr/0011-stop-without-disk.md.
    """

    def __init__(self, path: Path) -> None:
        """Take the room, if there is as much."""
        self._path = path
        self._tried_at = float("-inf")
        self.whole = False
        self.fill()

    def fill(self) -> bool:
        """Take the room if it is not taken, at most once a second; return whether it is."""
        now = time.monotonic()
        if self.whole or now < self._tried_at + _TRY_AGAIN_SECONDS:
            return self.whole
        self._tried_at = now
        try:
            self._take()
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                log.warning("no room for the reserve, nothing is launched", extra={"error": str(error)})
                self._path.unlink(missing_ok=True)  # what there was of it
                return False
            log.warning("this file system keeps no room in reserve", extra={"error": str(error)})
        self.whole = True
        return True

    def release(self) -> None:
        """Give the room back, for others to be stored in."""
        if self.whole:
            log.warning("the disk is full, the reserve is used")
            self._path.unlink(missing_ok=True)
            self.whole = False
            self._tried_at = time.monotonic()

    def _take(self) -> None:
        _allocate(self._path)


def allocate_log(path: Path) -> None:
    """Give SQLite's log, which is there, room that nobody else can take; what it has not written yet is zeros to it.

    SQLite holds no locks on this file: closing it here takes none away.
    """
    try:
        _allocate(path)
    except OSError as error:
        log.warning("no room for the log of the database", extra={"error": str(error)})


def _allocate(path: Path) -> None:
    disk = os.statvfs(path.parent)
    size = min(_MOST_BYTES, disk.f_blocks * disk.f_frsize // _PART_OF_DISK)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        os.posix_fallocate(descriptor, 0, size)
    finally:
        os.close(descriptor)
