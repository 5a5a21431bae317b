"""What falls to the keeper when a shim is killed: it is ended, with all below it, until nothing is left.

The keeper is the next subreaper above its shims: what a dead one leaves becomes the keeper's own child. So a child that
is neither the server nor a shim has fallen. A shim that an earlier keeper started leaves its orphans to somebody else:
of those we have the leader, as the shim wrote it down, and the cgroup.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator

from farspawn_core import proc
from farspawn_core.tree import strike, walk
from farspawn_server.keeper.run import Run

_FIRST_STRIKE_AFTER = 0.01
_LAST_STRIKE_AFTER = 1.0


class Fallen:
    """Belongs to the keeper's loop."""

    def __init__(self, expected: Callable[[int], bool]) -> None:
        """`expected` says of a child of ours whether it is to be there: it is the server, or a shim."""
        self._expected = expected
        self._runs: list[Run] = []
        self._strike_at: float | None = None
        self._strike_after = _FIRST_STRIKE_AFTER

    def begin(self, run: Run | None = None) -> None:
        """End what has fallen; for that run, if it is one, also its leader and its group."""
        if run is not None:
            run.falling = True
            self._runs.append(run)
        self._strike_after = _FIRST_STRIKE_AFTER
        self._strike_at = 0.0

    def pending(self) -> float | None:
        """Return in how many seconds `go_on` has something to do; None: nothing has fallen."""
        return None if self._strike_at is None else max(0.0, self._strike_at - time.monotonic())

    def go_on(self) -> list[Run]:
        """Strike, if it is time; return the runs of which nothing is left."""
        if self.pending() != 0.0:
            return []
        for run in self._runs:
            if run.group is not None:
                run.group.kill()
        if strike(self._look):
            self._strike_at = time.monotonic() + self._strike_after
            self._strike_after = min(2 * self._strike_after, _LAST_STRIKE_AFTER)
            return []
        over, self._runs, self._strike_at = self._runs, [], None
        for run in over:
            run.falling = False
        return over

    def _look(self) -> list[proc.Process]:
        found: dict[int, proc.Process] = {}
        for pid in self._roots():
            walk(pid, found)
        return list(found.values())

    def _roots(self) -> Iterator[int]:
        yield from (pid for pid in proc.children(os.getpid()) if not self._expected(pid))
        for run in self._runs:
            if (leader := run.head.find_leader()) is not None:
                yield leader.pid
            if run.group is not None:
                yield from run.group.pids()
