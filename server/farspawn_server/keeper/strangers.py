"""Tasks of an earlier keeper: found by identity, watched by pidfd, for they are somebody else's children.

A pid alone proves nothing: it counts only together with the start time, and the cookie in the environment is asked
where the pid was never recorded. How such a process ends the kernel tells since Linux 6.15; before, nobody can know.
"""

from __future__ import annotations

import os
import select

from farspawn_core import ExitUnknownError, exits, proc
from farspawn_core.proc import Process


def find(pid: int, start_time: int, cookie: tuple[str, str]) -> Process | None:
    """Return the leader of a task, if it lives.

    Args:
        pid: 0: it was never recorded; then the session leader that carries the cookie is looked for.
        start_time: in clock ticks since boot.
        cookie: (name, value) of the environment variable that marks the task.
    """
    if pid:
        process = proc.read(pid)
        return process if process is not None and process.key == (pid, start_time) and process.alive else None
    name, value = cookie
    for candidate in proc.everything():
        # The last of several: those before it are of tasks within which this one's agent ran.
        if (proc.environment_value(candidate, name) or "").rpartition("/")[2] == value:
            process = proc.read(candidate)
            if process is not None and process.alive and process.session == process.pid:
                return process
    return None


class Strangers:
    """Watches leaders that are not our children."""

    def __init__(self) -> None:
        """Watch nobody yet."""
        self._epoll = select.epoll()
        self._uids: dict[int, str] = {}

    def fileno(self) -> int:
        """Return a descriptor that is readable when `ended` has something."""
        return self._epoll.fileno()

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
