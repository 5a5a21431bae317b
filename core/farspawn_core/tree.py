"""Everything a task started: find it, signal it, end it.

A task's tree is its leader, the descendants of the leader, and strays: processes whose parent has died, with all that
they started. A stray is known by the task's cookie in its environment, by the session or group of the leader, or
because it was seen in the tree before. A program that clears its environment, starts a session and orphans itself
before anybody looked cannot be told from a stranger, and is not touched.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterable

from farspawn_core import proc
from farspawn_core.proc import Process

# A tree that grows while it is being frozen is looked at again, so often at the most: what got away then is met by the
# next strike.
_FREEZING_ROUNDS = 64


class Tree:
    """The processes of one task. Not thread-safe: its owner holds a lock or is the only one."""

    def __init__(
        self,
        leader: int,
        *,
        cookie: tuple[str, str],
        start_time: int | None = None,
    ) -> None:
        """Describe the tree of an unreaped child of ours, or of a stranger's that is known by its start time.

        Args:
            leader: the pid of the first process, which is also its session and its group.
            start_time: the leader's, if somebody else may reap it and its pid become another's.
            cookie: (name, value) of the environment variable that marks the task. A task within a task may add its own
                value behind a "/".
        """
        self.leader = leader
        self._cookie = cookie
        self._start_time = start_time
        self._leader_ended = False
        self._session_held = True
        self._seen: set[tuple[int, int]] = set()

    def members(self) -> list[Process]:
        """Return the live processes of the tree, parents before their children."""
        if self._session_held and (self._leader_ended or not self._has_leader()):
            # The kernel keeps the number of a session taken while anybody is in it. Once all that we saw in it are
            # gone, it may have become a stranger's, and says nothing any more.
            self._session_held = self._is_session_held()
        return self._look()

    def leader_ended(self) -> list[Process]:
        """Note that the leader is a zombie, and return what it left behind. To be called before it is reaped."""
        self.note_leader_ended()
        return self._look()

    def note_leader_ended(self) -> None:
        """Do what `leader_ended` does without the look at every environment, which takes milliseconds."""
        self._leader_ended = True
        zombie = proc.read(self.leader)
        ours = zombie is not None and not zombie.alive and zombie.parent == os.getpid() and self._has_leader()
        # If somebody else reaped it, the number may be a stranger's already.
        self._session_held = ours or self._is_session_held()
        if self._session_held:
            holders = (proc.read(pid) for pid in proc.everything() if self._shares_session(pid))
            self._seen |= {process.key for process in holders if process is not None and process.alive}

    def _look(self) -> list[Process]:
        found: dict[int, Process] = {}
        if not self._leader_ended and self._has_leader():
            walk(self.leader, found)
        for pid in (*proc.everything(), *(pid for pid, _ in self._seen)):
            if pid in found or pid == self.leader:
                continue
            process = proc.read(pid)
            if process is not None and process.alive and self._claims(process):
                walk(pid, found)
        self._seen = {process.key for process in found.values()}
        return list(found.values())

    def _has_leader(self) -> bool:
        if self._start_time is None:
            return True
        process = proc.read(self.leader)
        return process is not None and process.start_time == self._start_time

    def _claims(self, process: Process) -> bool:
        if process.key in self._seen or (self._session_held and self._is_in_session(process)):
            return True
        name, value = self._cookie
        found = proc.environment_value(process.pid, name)
        return found is not None and value in found.split("/")

    def _shares_session(self, pid: int) -> bool:
        try:
            return self._is_ours(os.getsid(pid), os.getpgid(pid))
        except OSError:
            return False  # it is gone, or a security module keeps us from asking

    def _is_in_session(self, process: Process) -> bool:
        return self._is_ours(process.session, process.group)

    def _is_ours(self, session: int, group: int) -> bool:
        # A leader that was never found has pid 0, which is also the session of whoever comes from outside our pid
        # namespace: it would be everybody's.
        return self.leader > 0 and self.leader in (session, group)

    def _is_session_held(self) -> bool:
        """Whether somebody whom we saw in the leader's session or group is still there."""
        now = ((key, proc.read(key[0])) for key in self._seen)
        return any(one is not None and one.key == key and self._is_in_session(one) for key, one in now)


def walk(root: int, found: dict[int, Process]) -> None:
    """Add the live ones of `root` and its descendants."""
    pending = [root]
    while pending:
        pid = pending.pop()
        if pid in found:
            continue
        process = proc.read(pid)
        if process is None:
            continue
        if process.alive:
            found[pid] = process
        pending.extend(proc.children(pid))


def send_all(processes: Iterable[Process], number: int) -> int:
    """Signal each process; return how many it reached."""
    reached = 0
    for process in processes:
        try:
            reached += proc.send(process, number)
        except PermissionError:
            continue  # it runs as somebody else; whoever looks for survivors will find it
    return reached


def strike(look: Callable[[], list[Process]]) -> list[Process]:
    """Send SIGKILL to all whom `look` finds, once; return whom it was meant for, empty if nobody was left.

    First everything is stopped, and looked for again until nothing new appears: what is stopped cannot start more
    while the others are being killed. The kernel ends processes in its own time: strike until nobody is left.
    """
    frozen: dict[tuple[int, int], Process] = {}
    for _ in range(_FREEZING_ROUNDS):
        new = {process.key: process for process in look() if process.key not in frozen}
        if not new:
            break
        send_all(new.values(), signal.SIGSTOP)
        frozen |= new
    send_all(frozen.values(), signal.SIGKILL)
    return list(frozen.values())
