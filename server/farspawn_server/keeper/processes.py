"""The table of processes: start, adopt, reap and signal what belongs to tasks, and say what changed.

One thread uses it: the keeper's loop. It never blocks: what could wait in the kernel is the spawner's. A task stays in
the table until the server says that its end is stored.
"""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import time
from collections import deque
from collections.abc import Callable

from farspawn_core import cgroup, exits, failpoint, proc
from farspawn_core.cgroup import Cgroup
from farspawn_core.tree import Tree, send_all, strike
from farspawn_server.keeper.entry import COOKIE, Entry, task_of
from farspawn_server.keeper.handover import Handed
from farspawn_server.keeper.inputs import Inputs
from farspawn_server.keeper.killing import Killing
from farspawn_server.keeper.messages import Adopt, Holding, InputTaken, Spawn
from farspawn_server.keeper.orphans import Orphans
from farspawn_server.keeper.pidfile import Pidfile
from farspawn_server.keeper.spawner import Spawner, Start
from farspawn_server.keeper.strangers import Strangers

# The strays of an adopted task are not our children: nobody tells us of their end.
_LOOK_AGAIN_AFTER = 0.1


class Processes:
    """Every task process there is, and every orphan."""

    def __init__(
        self,
        pidfile: Pidfile,
        *,
        changed: Callable[[Holding], None],
        taken: Callable[[InputTaken], None],
        wake: Callable[[], None],
    ) -> None:
        """Describe a table that is empty.

        Args:
            pidfile: what earlier keepers noted, and where starts are noted.
            changed: is told each new Holding.
            taken: is told what became of each write to an input.
            wake: called from any thread, makes the loop call `collect`.
        """
        self.inputs = Inputs(taken)
        self._changed = changed
        self._cgroups = cgroup.home()
        if self._cgroups is not None:
            cgroup.sweep(self._cgroups)
        self._spawner = Spawner(wake, self._cgroups, pidfile)
        self._starts: deque[Start] = deque()
        self._orphans = Orphans(COOKIE)
        self._strangers = Strangers(pidfile)
        self._entries: dict[str, Entry] = {}
        self._leaders: dict[int, Entry] = {}  # the unreaped ones
        self._left_behind: dict[str, Entry] = {}  # the leader has ended and others live on
        self._killing = Killing(self._strike)
        self._own: dict[int, Callable[[exits.Exit], None]] = {}  # children that are no task's

    def expect(self, pid: int, ended: Callable[[exits.Exit], None]) -> None:
        """Reap a child of ours that is no task's, and tell how it ended."""
        self._own[pid] = ended

    def holdings(self) -> list[Holding]:
        """Return all that is known of every task."""
        return [entry.holding() for entry in self._entries.values()]

    def hand_over(self) -> list[Handed]:
        """Return the whole table, for the next image of this process."""
        return [
            entry.handed(
                killing=uid in self._killing,
                input_end=self.inputs.opened(uid),
                input_length=self.inputs.length(uid),
                pidfd=self._strangers.leave(uid),
            )
            for uid, entry in self._entries.items()
        ]

    def take_over(self, table: list[Handed]) -> None:
        """Go on with the table of the last image: what were its children are ours."""
        for handed in table:
            holding = handed.holding
            if handed.stranger and holding.ended is None and handed.pidfd is None:
                self.adopt(Adopt(holding.uid, holding.pid, holding.start_time, holding.started_at, holding.guessed))
                self._entries[holding.uid].take_over(handed)
            else:
                entry = self._entries[holding.uid] = Entry.of(handed)
                if holding.pid or handed.stranger:  # a stranger's leader may never have been found, and others live on
                    self._plant_tree(entry, holding.pid, self._cgroup_of(entry))
                if entry.left:
                    self._left_behind[entry.uid] = entry
            if handed.pidfd is not None:
                self._strangers.take(handed.pidfd, holding.uid)
            if handed.input is not None:
                self.inputs.open(holding.uid, *handed.input)
            if handed.input_length is not None:
                self.inputs.note_length(holding.uid, handed.input_length)
            if handed.killing:
                self.kill(holding.uid)

    @property
    def tiers(self) -> list[str]:
        """How this machine lets us find what a task started."""
        return ["subreaper", "cookie", *(["cgroup"] if self._cgroups else [])]

    @property
    def starting(self) -> bool:
        """Whether a start is under way: its child is known to a thread only, and lost to a next image."""
        return any(entry.tree is None and entry.failure is None for entry in self._entries.values())

    @property
    def empty(self) -> bool:
        """Nothing of any task lives."""
        return all(entry.over for entry in self._entries.values())

    def start(self, order: Spawn) -> None:
        """Start a task, or tell again what is known of one that was started before."""
        if order.uid in self._entries:
            self._changed(self._entries[order.uid].holding())
            return
        failpoint.reach("keeper.spawn.ordered")
        self._entries[order.uid] = Entry(order.uid)
        self._spawner.start(order)

    def adopt(self, order: Adopt) -> None:
        """Take over a task that an earlier keeper started, or tell again what is known of it."""
        if order.uid not in self._entries:
            entry = Entry(order.uid, stranger=True)
            leader, entry.guessed = self._strangers.find(order)
            pid, start_time = (order.pid, order.start_time) if leader is None else leader.key
            entry.start_time, entry.started_at = start_time, order.started_at or time.time_ns()
            self._plant_tree(entry, pid, self._cgroup_of(entry))
            watched = leader is not None and self._strangers.watch(leader, order.uid)
            # Known only from here on: if the machine had no descriptor for it, the order is carried out again.
            self._entries[order.uid] = entry
            if not watched:
                self._ended(entry, None)
                return
        self._changed(self._entries[order.uid].holding())

    def fileno(self) -> int:
        """Return a descriptor that is readable when `collect` has something to take in."""
        return self._strangers.fileno()

    def members(self, uid: str) -> list[proc.Process]:
        """Return the live processes of a task."""
        entry = self._entries.get(uid)
        if entry is None or entry.tree is None or entry.over:
            return []
        self._refresh_orphans()
        return entry.tree.members()

    def signal(self, uid: str, number: int, *, tree: bool) -> int:
        """Signal a task's leader or its whole tree; return how many processes were reached."""
        entry = self._entries.get(uid)
        if entry is None or entry.tree is None:
            return 0
        entry.struck |= number == signal.SIGKILL
        if tree:
            return send_all(self.members(uid), number)
        if entry.ended is not None:
            return 0
        leader = proc.read(entry.tree.leader)
        if leader is None or leader.start_time != entry.start_time:
            return 0  # a stranger's child that was reaped a moment ago
        return send_all([leader], number)

    def kill(self, uid: str) -> None:
        """Begin to kill a task: again and again, until nothing of it is left."""
        if uid in self._entries:
            self._killing.begin([self._entries[uid]])

    def kill_all(self) -> None:
        """Begin to kill every task."""
        for entry in self._entries.values():
            if entry.ended is None:
                entry.shut_down = True
        self._killing.begin(list(self._entries.values()))

    def forget(self, uid: str) -> None:
        """Drop what is stored; a leader that still lives is dropped at its end."""
        entry = self._entries.get(uid)
        if entry is None:
            return
        entry.forgotten = True
        if entry.over or entry.ended is not None:
            if entry.left and entry.tree is not None:
                # Survivors: what follows of the task, a cleanup or another attempt, is not to wait for them.
                self._orphans.write_off([process.pid for process in self.members(uid)])
            self._drop(entry)

    def pending(self) -> float | None:
        """Return in how many seconds `collect` has work of its own, or None."""
        look_again = _LOOK_AGAIN_AFTER if any(entry.stranger for entry in self._left_behind.values()) else None
        return min((span for span in (self._killing.pending(), look_again) if span is not None), default=None)

    def close(self) -> None:
        """Leave nothing of ours behind on the machine. Nothing of any task lives."""
        if self._cgroups is not None:
            for entry in list(self._entries.values()):
                self._drop(entry)
            with contextlib.suppress(OSError):  # another agent has groups there too
                self._cgroups.rmdir()

    def collect(self) -> None:
        """Take in what happened: starts that came through, exits, trees that emptied; strike again where it is due."""
        self._note_starts()
        self.inputs.collect()
        stray_ended = False
        while (pid := _next_ended_child()) is not None:
            if not self._knows(pid):
                self._note_starts()
            if not self._knows(pid):
                # A child that nobody knows is either that of a start which is not reported yet, or an orphan. Ask in
                # this order: a start reports its child before it stops being the one that owns it.
                if self._spawner.owns(pid):
                    break
                self._note_starts()
            if pid in self._leaders:
                self._leader_ended(self._leaders[pid])
            elif pid in self._own:
                self._own.pop(pid)(exits.reap(pid))
            else:
                self._orphans.reaped(pid)
                with contextlib.suppress(ChildProcessError):  # the child of a start that failed, which reaped it
                    exits.reap(pid)
                stray_ended = True
        for uid, how in self._strangers.ended():
            entry = self._entries[uid]
            self._ended(entry, None if entry.guessed else how)
        if self._left_behind and (stray_ended or any(entry.stranger for entry in self._left_behind.values())):
            self._note_emptied()
        self._killing.go_on()

    def _knows(self, pid: int) -> bool:
        return pid in self._leaders or pid in self._own

    def _note_starts(self) -> None:
        self._starts.extend(self._spawner.finished())
        while self._starts:
            # Taken off only when it was taken in: if /proc cannot be read for want of descriptors, it comes again.
            start = self._starts[0]
            process = proc.read(start.pid) if start.pid else None
            self._starts.popleft()
            entry = self._entries[start.uid]
            entry.failure = start.failure
            if process is not None:
                entry.start_time, entry.started_at = process.start_time, time.time_ns()
                self._plant_tree(entry, start.pid, start.cgroup)
                if start.input is not None:
                    self.inputs.open(start.uid, start.input)
            self._tell(entry)
            failpoint.reach("keeper.spawn.told")
            self._killing.come_to_life(entry)

    def _plant_tree(self, entry: Entry, pid: int, group: Cgroup | None) -> None:
        """Begin to follow what an entry's leader starts."""
        task = task_of(entry.uid)
        entry.cgroup = group
        entry.tree = Tree(
            pid,
            cookie=(COOKIE, task),
            # The orphans of a stranger went to another reaper than us: look everywhere.
            candidates=proc.everything if entry.stranger else functools.partial(self._orphans.of, task),
            start_time=entry.start_time if entry.stranger else None,
            cgroup=entry.cgroup,
        )
        if entry.ended is not None:
            entry.tree.leader_ended()
            return
        if entry.stranger:
            return  # its cgroup has it already, from its own keeper; and its pid may be anybody's, or nobody's
        self._leaders[pid] = entry
        if group is None:
            return
        # Without descriptors to look with: they stay outside of it, and the other ways of finding them remain.
        with contextlib.suppress(OSError):
            if proc.children_of_thread(pid, pid):  # it started others before it was put in
                for process in entry.tree.members():
                    group.add(process.pid)

    def _cgroup_of(self, entry: Entry) -> Cgroup | None:
        """Return the group that an earlier image or keeper made for a task."""
        return None if self._cgroups is None else cgroup.make(self._cgroups, entry.uid)

    def _leader_ended(self, entry: Entry) -> None:
        assert entry.tree is not None
        pid = entry.tree.leader
        failpoint.reach("keeper.exit.seen")
        self._refresh_orphans()
        left = entry.tree.leader_ended()
        how = exits.reap(pid)
        failpoint.reach("keeper.exit.reaped")
        del self._leaders[pid]
        self._ended(entry, how, left=len(left))

    def _ended(self, entry: Entry, how: exits.Exit | None, left: int | None = None) -> None:
        """Note that a leader has ended; None: nobody can know how."""
        assert entry.tree is not None
        entry.left = len(entry.tree.leader_ended()) if left is None else left
        self.inputs.close(entry.uid)
        entry.struck |= entry.uid in self._killing
        entry.note_end(how)
        self._tell(entry)
        failpoint.reach("keeper.exit.told")

    def _note_emptied(self) -> None:
        """The last of a task to die is our own child, so its end brings us here."""
        self._refresh_orphans()
        for entry in list(self._left_behind.values()):
            assert entry.tree is not None
            entry.left = len(entry.tree.members())
            if entry.left == 0:
                self._tell(entry)

    def _strike(self, entries: list[Entry]) -> None:
        """Send SIGKILL to everything that these have now."""
        self._refresh_orphans()
        for entry in entries:
            if entry.tree is not None:
                strike(entry.tree)
            else:
                self._kill_start(entry.uid)

    def _kill_start(self, uid: str) -> None:
        """End the child that is stuck between its birth and its program, if this start has one by now."""
        children = self._spawner.children_of(uid)
        self._note_starts()  # the same thread may have started others that are leaders since a moment ago
        for pid in children:
            # By identity: a start that fails reaps its child itself, and then the number can be anybody's.
            process = proc.read(pid)
            if pid not in self._leaders and process is not None and process.parent == os.getpid():
                proc.send(process, signal.SIGKILL)

    def _refresh_orphans(self) -> None:
        self._orphans.refresh(self._knows, lambda: {task_of(uid) for uid in self._entries})

    def _tell(self, entry: Entry) -> None:
        if entry.left:
            self._left_behind[entry.uid] = entry
        if entry.over:
            self._left_behind.pop(entry.uid, None)
            self._killing.spare(entry.uid)
        if entry.over and entry.forgotten:
            self._drop(entry)
        else:
            self._changed(entry.holding())

    def _drop(self, entry: Entry) -> None:
        self._entries.pop(entry.uid, None)
        self._left_behind.pop(entry.uid, None)
        self._killing.spare(entry.uid)
        if entry.cgroup is not None:
            entry.cgroup.remove()


def _next_ended_child() -> int | None:
    """Return a child that has ended and leave it unreaped: until then its pid is its own."""
    try:
        ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return None
    return None if ended is None else ended.si_pid
