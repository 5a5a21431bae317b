"""Whom to strike again, and when: SIGKILL after SIGKILL, less and less often, until nothing of a task is left."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from farspawn_core import failpoint
from farspawn_server.keeper.entry import Entry

_FIRST_STRIKE_AFTER = 0.02
_LAST_STRIKE_AFTER = 1.0


class Killing:
    """Belongs to the keeper's loop."""

    def __init__(self, strike: Callable[[list[Entry]], None]) -> None:
        """Kill nobody yet; `strike` sends SIGKILL to everything that these have now, once."""
        self._strike = strike
        self._entries: dict[str, Entry] = {}
        self._again_at = 0.0
        self._again_after = _FIRST_STRIKE_AFTER

    def __contains__(self, uid: str) -> bool:
        return uid in self._entries

    def begin(self, entries: Iterable[Entry]) -> None:
        """Begin to kill these together; those that are being killed already have their next strike to come."""
        new = {entry.uid: entry for entry in entries if not entry.over and entry.uid not in self._entries}
        if new:
            self._entries |= new
            self._again_after = _FIRST_STRIKE_AFTER
            self._strike_at(new.values())

    def come_to_life(self, entry: Entry) -> None:
        """Strike what has a process only now, if it is to be killed."""
        if entry.uid in self._entries:
            self._strike_at([entry])

    def spare(self, uid: str) -> None:
        """Strike it no more: nothing is left, or nobody waits for it."""
        self._entries.pop(uid, None)

    def pending(self) -> float | None:
        """Return in how many seconds the next strike is due; None: there is nobody to strike."""
        return max(0.0, self._again_at - time.monotonic()) if self._entries else None

    def go_on(self) -> None:
        """Strike, if it is time."""
        if self.pending() == 0.0:
            self._strike_at(self._entries.values())

    def _strike_at(self, entries: Iterable[Entry]) -> None:
        self._again_at = time.monotonic() + self._again_after
        self._again_after = min(2 * self._again_after, _LAST_STRIKE_AFTER)
        self._strike(list(entries))
        failpoint.reach("keeper.kill.struck")
