"""Whose orphans are these? Processes that became our children because their parent died.

A subreaper's orphans belong to its first thread, while the spawner's other threads started the leaders: the kernel
itself keeps the two apart. An orphan cannot lose its pid before we reap it, so what was found out about it holds.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable

from farspawn_core import proc


class Orphans:
    """The orphans there are, by the uid in their environment."""

    def __init__(self, cookie: str) -> None:
        """`cookie` is the name of the environment variable that holds a task's uid."""
        self._cookie = cookie
        self._by_uid: dict[str | None, set[int]] = {}
        self._known: dict[int, set[str | None]] = {}

    def refresh(self, ours: Callable[[int], bool], tasks: Callable[[], set[str]]) -> None:
        """Look again. `ours` tells the children that we started ourselves, `tasks` the uids that there are."""
        me = os.getpid()
        there = {pid for pid in proc.children_of_thread(me, me) if not ours(pid)}
        for pid in self._known.keys() - there:
            self.reaped(pid)
        if not (new := there - self._known.keys()):
            return
        uids = tasks()
        for pid in new:
            # A task of an agent within a task has the uids of both. One that names no task of ours says nothing: its
            # program could have made that up, and be anybody's.
            claimed = (proc.environment_value(pid, self._cookie) or "").split("/")
            found: set[str | None] = {uid for uid in claimed if uid in uids}
            self._known[pid] = found or {None}
            for uid in self._known[pid]:
                self._by_uid.setdefault(uid, set()).add(pid)

    def of(self, uid: str) -> list[int]:
        """Return the orphans that are, or may be, this task's: those with its uid and those with none."""
        return [*self._by_uid.get(uid, ()), *self._by_uid.get(None, ())]

    def write_off(self, pids: Iterable[int]) -> None:
        """Count these as nobody's from now on."""
        for pid in pids:
            if pid in self._known:
                self.reaped(pid)
                self._known[pid] = set()

    def reaped(self, pid: int) -> None:
        """Forget an orphan: from now on its pid can be anybody's."""
        for uid in self._known.pop(pid, ()):
            self._by_uid[uid].discard(pid)
            if not self._by_uid[uid]:
                del self._by_uid[uid]
