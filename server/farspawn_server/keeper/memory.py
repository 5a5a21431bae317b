"""Whether the kernel killed somebody of a run for want of memory, and how sure that is.

The run's own cgroup counts such kills where there is a memory controller: then it is certain. Else the agent's own
group may count them, for all runs together and for the agent itself; in a container that is all there is. A leader
that dies of a SIGKILL that is not ours, moments after that count has risen, was likely meant.
"""

from __future__ import annotations

import collections
import os
import signal
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from farspawn_core import cgroup
from farspawn_core.cgroup import Cgroup, Home

_MOMENTS_NS = 10_000_000_000  # a process that is killed gives its memory back first, which takes the longer the more


@dataclass(frozen=True, slots=True)
class Rise:
    """The count has risen between these moments, in nanoseconds since 1970."""

    after: int
    until: int


class OomWatch:
    """The count of the agent's own group. `look` wants to be called about once a second."""

    def __init__(self, group: Path | None) -> None:
        """`group`: see `group_to_watch`."""
        self._group = group
        self._rises: collections.deque[Rise] = collections.deque(maxlen=16)
        self._looked_at = time.time_ns()
        self._count = self._read()

    def look(self) -> None:
        """Note whether the count has risen since the last look."""
        now, count = time.time_ns(), self._read()
        if count is not None and self._count is not None and count > self._count:
            self._rises.append(Rise(self._looked_at, now))
        self._looked_at, self._count = now, count

    def verdict(self, group: Cgroup | None, *, status: int, struck: bool, at: int) -> str:
        """Return what is known when a leader has ended: see `messages.Ended.out_of_memory`.

        Args:
            group: the run's own.
            status: the leader's, as wait(2) gives it.
            struck: we have sent SIGKILL to somebody of the run.
            at: when the leader ended, in nanoseconds since 1970.
        """
        counted = None if group is None else group.out_of_memory()
        killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL and not struck
        if killed and counted is None:
            self.look()
        return judge(counted, self._rises, killed=killed, ended_at=at)

    def _read(self) -> int | None:
        return None if self._group is None else cgroup.oom_kills(self._group)


def group_to_watch(home: Home | None) -> Path | None:
    """Return the smallest group that all runs live below."""
    return cgroup.own_group() if home is None else home.path.parent


def judge(counted: bool | None, rises: Iterable[Rise], *, killed: bool, ended_at: int) -> str:
    """Return "yes", "no", "likely" or "unknown".

    Args:
        counted: what the run's own group says; None: nothing.
        rises: of the count of the agent's group.
        killed: the leader died of a SIGKILL that we did not send.
        ended_at: when, in nanoseconds since 1970.
    """
    if counted is not None:
        return "yes" if counted else "no"
    if killed and any(rise.after <= ended_at <= rise.until + _MOMENTS_NS for rise in rises):
        return "likely"
    return "unknown"
