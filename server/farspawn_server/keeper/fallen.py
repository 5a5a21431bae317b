"""What falls to the keeper when a shim is killed: it is ended, with all below it, until nothing is left.

The keeper is the next subreaper above its shims: what a dead one leaves becomes the keeper's own child, before the
death can be reaped. So a child that is not expected has fallen. Whose it was nobody knows: it counts for every run that
was falling when it was seen first. So one that does not die keeps those runs, and none whose shim dies later.

A shim that an earlier keeper started leaves its orphans to somebody else: of those we have the leader, as the shim
wrote it down, and the cgroup.

To kill: each process is sent SIGKILL before its children are looked up, as in core/shim/tree.c. fork(2) does not
complete while a signal is pending, so from then on it has no more children than are found, and what it left is ours.
What is below a leader that is not ours would get away from us: there all are stopped first, in the same way.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator

from farspawn_core import proc
from farspawn_core.cgroup import Cgroup
from farspawn_core.proc import Process
from farspawn_server.keeper.run import Run

_FIRST_PAUSE = 0.01
_LAST_PAUSE = 1.0
_TURN_SECONDS = 0.005  # then others have a turn


class Fallen:
    """Belongs to the keeper's loop."""

    def __init__(self, expected: Callable[[int], bool]) -> None:
        """`expected` says of a child of ours whether it is to be there: it is the server, or a shim."""
        self._expected = expected
        self._runs: dict[Run, int] = {}  # each with the number of runs that had fallen by then
        self._count = 0
        self._seen: dict[int, int] = {}  # what has fallen, with the same number
        self._strike_at: float | None = None
        self._pause = _FIRST_PAUSE
        self._strike: Iterator[None] | None = None  # the one that is being done
        self._struck: list[Run] = []
        self._living = set[Run]()
        self._took = 0.0

    def begin(self, run: Run | None = None) -> None:
        """End what has fallen; for that run, if it is one, also its leader and its group."""
        if run is not None:
            run.falling = True
            self._count += 1
            self._runs[run] = self._count
        self._pause = _FIRST_PAUSE
        self._strike_at = 0.0

    def reaped(self, pid: int) -> None:
        """Take in that a child has ended: what it left behind is ours only now."""
        if self._seen.pop(pid, None) is not None:
            soon = time.monotonic() + self._took  # a strike is not all that we do
            self._strike_at = soon if self._strike_at is None else min(self._strike_at, soon)

    def unexpected(self) -> set[int]:
        """Return the children of ours that are not to be there."""
        return {pid for pid in proc.children(os.getpid()) if not self._expected(pid)}

    def pending(self) -> float | None:
        """Return in how many seconds `go_on` has something to do; None: nothing has fallen."""
        if self._strike is not None:
            return 0.0
        return None if self._strike_at is None else max(0.0, self._strike_at - time.monotonic())

    def go_on(self) -> list[Run]:
        """Strike, if it is time, or a part of it; return the runs of which nothing is left."""
        if self.pending() != 0.0:
            return []
        began = time.monotonic()
        if self._strike is None:
            self._strike_at, self._took = None, 0.0
            self._struck, self._living = list(self._runs), set()
            self._strike = self._strike_once()
        try:
            for _ in self._strike:
                if time.monotonic() - began >= _TURN_SECONDS:
                    return []
        except (OSError, MemoryError):
            self._strike, self._strike_at = None, began + _LAST_PAUSE
            raise
        finally:
            self._took += time.monotonic() - began
        return self._finish()

    def _finish(self) -> list[Run]:
        """Take in what a strike has found."""
        self._strike = None
        newest = max(self._seen.values(), default=0)
        over = [run for run in self._struck if run not in self._living and self._runs[run] > newest]
        for run in over:
            run.falling = False
            del self._runs[run]
        if self._strike_at is None and (self._seen or self._runs):
            self._strike_at = time.monotonic() + max(self._pause, self._took)
            self._pause = min(2 * self._pause, _LAST_PAUSE)
        return over

    def _strike_once(self) -> Iterator[None]:
        """Send SIGKILL to all there is now, and let others have a turn after each."""
        for run in self._struck:
            if run.group is not None:
                for _ in _end_group(run.group):
                    self._living.add(run)
                    yield
            leader = run.head.find_leader()
            if leader is not None and leader.alive and leader.parent != os.getpid():
                self._living.add(run)
                yield from self._end_tree(leader)
        children = self.unexpected()
        self._seen = {pid: self._seen.get(pid, self._count) for pid in children}
        for pid in children:
            if pid in self._seen:  # else it was reaped meanwhile, and its pid may be a shim's
                with contextlib.suppress(PermissionError):  # it runs as somebody else
                    os.kill(pid, signal.SIGKILL)
                child = proc.read(pid)
                yield
                if child is not None:
                    for _ in self._descend(child, signal.SIGKILL):
                        yield

    def _end_tree(self, leader: Process) -> Iterator[None]:
        """Kill one that is not our child, and all below it."""
        _send(leader, signal.SIGSTOP)
        found = [leader]
        for process in self._descend(leader, signal.SIGSTOP):
            found.append(process)
            yield
        for process in found:
            _send(process, signal.SIGKILL)
            yield

    def _descend(self, root: Process, number: int) -> Iterator[Process]:
        """Signal all below a process, each before its children are looked up, and yield it then."""
        above = [root]
        while above:
            parent = above.pop()
            pids = proc.children(parent.pid)
            if not pids or (now := proc.read(parent.pid)) is None or now.key != parent.key:
                continue  # they may be a stranger's, who has its pid by now; if they are ours, they have fallen to us
            for pid in pids:
                process = proc.read(pid)
                if process is None or self._is_elsewhere(process, parent.pid):
                    continue
                _send(process, number)
                above.append(process)
                yield process

    def _is_elsewhere(self, process: Process, parent: int) -> bool:
        """Whether it is not below that parent any more, and has not fallen to us from there either."""
        return process.parent != parent and (process.parent != os.getpid() or self._expected(process.pid))


def _end_group(group: Cgroup) -> Iterator[None]:
    group.kill()
    for pid in group.pids():
        _send(proc.read(pid), signal.SIGKILL)  # Linux before 5.14 has no cgroup.kill
        yield


def _send(process: Process | None, number: int) -> None:
    with contextlib.suppress(PermissionError):  # it runs as somebody else: who waits for its end will wait
        if process is not None:
            proc.send(process, number)
