"""Tasks of an earlier keeper: found by identity, watched by pidfd, for they are somebody else's children.

A pid alone proves nothing: it counts only together with the start time. Where neither the server nor the pidfile knows
it, the cookie in the environment is asked, and that is a guess. How such a process ends the kernel tells since Linux
6.15; before, nobody can know.
"""

from __future__ import annotations

import os
import select

from farspawn_core import ExitUnknownError, exits, proc
from farspawn_core.proc import Process
from farspawn_server.keeper.entry import COOKIE, task_of
from farspawn_server.keeper.messages import Adopt
from farspawn_server.keeper.pidfile import Pidfile


class Strangers:
    """Finds leaders that are not our children, and watches them."""

    def __init__(self, pidfile: Pidfile) -> None:
        """Watch nobody yet; `pidfile` has what earlier keepers noted."""
        self._pidfile = pidfile
        self._epoll = select.epoll()
        self._uids: dict[int, str] = {}

    def fileno(self) -> int:
        """Return a descriptor that is readable when `ended` has something."""
        return self._epoll.fileno()

    def find(self, order: Adopt) -> tuple[Process | None, bool]:
        """Return the leader of a task if it lives, and whether that is a guess: then its exit proves nothing."""
        pid, start_time, guessed = order.pid, order.start_time, order.guessed
        if not pid:
            noted = self._pidfile.find(order.uid)
            if noted is None:
                return _eldest(task_of(order.uid)), True
            pid, start_time = noted
        process = proc.read(pid)
        found = process is not None and process.start_time == start_time and process.alive
        return process if found else None, guessed

    def watch(self, process: Process, uid: str) -> bool:
        """Begin to watch; return False if the process is gone already."""
        try:
            pidfd = os.pidfd_open(process.pid)
        except ProcessLookupError:
            return False
        now = proc.read(process.pid)
        if now is None or now.key != process.key:
            os.close(pidfd)
            return False
        self._uids[pidfd] = uid
        self._epoll.register(pidfd, select.EPOLLIN)
        return True

    def leave(self, uid: str) -> int | None:
        """Return the descriptor of a leader, which will outlive an exec: it knows the exit of who ends meanwhile."""
        found = next((pidfd for pidfd, watched in self._uids.items() if watched == uid), None)
        if found is not None:
            os.set_inheritable(found, True)
        return found

    def take(self, pidfd: int, uid: str) -> None:
        """Go on watching what the last image of this process left."""
        os.set_inheritable(pidfd, False)
        self._uids[pidfd] = uid
        self._epoll.register(pidfd, select.EPOLLIN)

    def ended(self) -> list[tuple[str, exits.Exit | None]]:
        """Return the uid and, where the kernel tells, the exit of each leader that has ended."""
        over: list[tuple[str, exits.Exit | None]] = []
        for pidfd, events in self._epoll.poll(0) if self._uids else ():
            how = exits.of_zombie(pidfd)  # first of all: nobody knows whether its parent ever reaps it
            try:
                how = how or exits.of_stranger(pidfd)
                if how is None and not events & select.EPOLLHUP:
                    # A zombie that is not shown to us: its status is told when its parent reaps it, and that hangs the
                    # pidfd up.
                    self._epoll.modify(pidfd, 0)
                    continue
            except ExitUnknownError:
                pass
            self._epoll.unregister(pidfd)
            os.close(pidfd)
            over.append((self._uids.pop(pidfd), how))
        return over


def _eldest(task: str) -> Process | None:
    """Return the eldest session leader that carries a task's cookie: the task's own may have ended before it."""
    leaders: list[Process] = []
    for candidate in proc.everything():
        # The last of several: those before it are of tasks within which this one's agent ran.
        if (proc.environment_value(candidate, COOKIE) or "").rpartition("/")[2] == task:
            process = proc.read(candidate)
            if process is not None and process.alive and process.session == process.pid:
                leaders.append(process)
    return min(leaders, key=lambda process: process.start_time, default=None)
