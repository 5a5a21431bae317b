"""The pid of each start, in a file from its first moment on: what a keeper that is killed leaves to the next one.

The server stores a pid a moment after its process was born, and a cleanup's never. Whoever looks for the leader of a
task without it finds the cookie only, which what the leader has started in sessions of its own carries too. Nothing is
flushed to the disk: after a crash of the machine there is no process to be found.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
import threading
from typing import NamedTuple

from farspawn_core.errors import STARVATION

_APPEND_ONLY = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
_LINE = re.compile(r"^(\S+) ([0-9]+) ([0-9]+) \.$", re.MULTILINE)
_LARGEST_BYTES = 1 << 20  # of each of two files: some 15,000 starts


class Noted(NamedTuple):
    """Which process it is: `start_time` is in clock ticks since boot."""

    pid: int
    start_time: int


class Pidfile:
    """Two files, of which the older one is replaced when the newer one is full. Any thread may call `note`."""

    def __init__(self, path: str) -> None:
        """`path`: where they are, the older one with ".old" behind it. What earlier keepers noted stays."""
        self._path = path
        self._lock = threading.Lock()
        self._descriptor = -1  # guarded by _lock; -1: to be opened
        with contextlib.suppress(OSError):  # tried again at each note
            self._open()

    def note(self, uid: str, noted: Noted) -> None:
        """Write it down."""
        # A line feed first and a full stop last: what a full disk has cut off spoils itself only, and shows.
        line = f"\n{uid} {noted.pid} {noted.start_time} .".encode()
        # No room, or no directory any more: it runs all the same, and only its exit may be unknown to the next keeper.
        with self._lock, contextlib.suppress(OSError, MemoryError):
            self._open()
            os.write(self._descriptor, line)
            if os.fstat(self._descriptor).st_size > _LARGEST_BYTES:
                os.replace(self._path, f"{self._path}.old")
                full, self._descriptor = self._descriptor, -1
                os.close(full)

    def _open(self) -> None:
        if self._descriptor < 0:
            self._descriptor = os.open(self._path, _APPEND_ONLY, 0o600)

    def find(self, uid: str) -> Noted | None:
        """Return what an earlier keeper noted."""
        return self._earlier.get(uid)

    @functools.cached_property
    def _earlier(self) -> dict[str, Noted]:
        noted: dict[str, Noted] = {}
        for path in (f"{self._path}.old", self._path):
            try:
                with open(path, encoding="ascii", errors="replace") as file:
                    text = file.read()
            except OSError as error:
                if error.errno in STARVATION:
                    raise  # and come back: now nobody can say what was noted
                continue
            noted |= {uid: Noted(int(pid), int(start_time)) for uid, pid, start_time in _LINE.findall(text)}
        return noted
