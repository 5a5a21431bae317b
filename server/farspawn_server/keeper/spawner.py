"""Threads that are waiting in exec, so that the keeper never is.

Each start of a process has a thread to itself while it lasts: a program on a dead mount keeps its own thread and
nobody else's. Idle threads stay for the next start, and never end: their children would move to the keeper's first
thread, where orphans are told from tasks by being there.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from farspawn_core import Phase, SpawnError, cgroup, failpoint, proc, spawn
from farspawn_core.cgroup import Cgroup
from farspawn_server.keeper.confining import confinement
from farspawn_server.keeper.messages import Confinement, Failure, Spawn
from farspawn_server.keeper.pidfile import Noted, Pidfile

_APPEND_ONLY = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Start:
    """What became of one order: a pid, and the writing end of its input and its cgroup if it has them; or a failure."""

    uid: str
    pid: int = 0
    input: int | None = None
    cgroup: Cgroup | None = None
    failure: Failure | None = None


class Spawner:
    """Starts processes; belongs to the keeper's loop, which calls it from one thread."""

    def __init__(self, done: Callable[[], None], cgroups: Path | None, pidfile: Pidfile) -> None:
        """Describe a spawner that has no threads yet.

        Args:
            done: is called, from any thread, when `finished` has something.
            cgroups: the directory below which each process gets a cgroup; None: there are none.
            pidfile: where each pid is noted.
        """
        self._pidfile = pidfile
        self._cgroups = cgroups
        self._done = done
        self._null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        self._orders: queue.SimpleQueue[Spawn] = queue.SimpleQueue()
        self._finished: queue.SimpleQueue[Start] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._idle = 0  # guarded by _lock: threads that wait for an order nobody has claimed
        self._busy: dict[str, int] = {}  # guarded by _lock: uid to the id of the thread that starts it

    def start(self, order: Spawn) -> None:
        """Begin to start a process; `finished` tells how it went."""
        with self._lock:
            claimed = self._idle > 0
            self._idle -= claimed
        if not claimed:
            try:
                threading.Thread(target=self._work, daemon=True, name="spawner").start()
            except RuntimeError:  # "can't start new thread": the order was not queued, so nobody will execute it
                failure = Failure(errno.EAGAIN, Phase.SPAWN.value, order.argv[0])
                self._finished.put(Start(order.uid, failure=failure))
                self._done()
                return
        self._orders.put(order)

    def finished(self) -> list[Start]:
        """Return the starts that came to an end since the last call."""
        return [self._finished.get() for _ in range(self._finished.qsize())]

    def owns(self, pid: int) -> bool:
        """Whether a child is that of a start which has not been reported yet."""
        with self._lock:
            threads = list(self._busy.values())
        return any(pid in proc.children_of_thread(os.getpid(), thread) for thread in threads)

    def children_of(self, uid: str) -> list[int]:
        """Return the children of the thread that is busy with this start: its own, and leaders started before it."""
        with self._lock:
            thread = self._busy.get(uid)
        return [] if thread is None else proc.children_of_thread(os.getpid(), thread)

    def _work(self) -> None:
        while True:
            order = self._orders.get()
            with self._lock:
                self._busy[order.uid] = threading.get_native_id()
            start = self._attempt(order)
            # Reported before it is no longer busy: in between, its child must not be taken for an orphan.
            self._finished.put(start)
            self._done()
            with self._lock:
                del self._busy[order.uid]
                self._idle += 1

    def _attempt(self, order: Spawn) -> Start:
        opened: list[int] = []
        writing = group = None
        try:
            for path in (order.stdout, order.stderr):
                try:
                    opened.append(os.open(path, _APPEND_ONLY, 0o600))
                except OSError as error:
                    raise SpawnError(error.errno or 0, Phase.OUTPUT, path) from error
            reading = self._null
            if order.open_input:
                reading, writing = os.pipe2(os.O_CLOEXEC)
                opened.append(reading)
            descriptors = (reading, *opened[:2])
            imposed = None
            if order.confinement is not None:
                group = self._birthplace(order.uid, order.confinement)
                imposed = confinement(order.confinement, group)
            failpoint.reach("keeper.spawn.before_exec")
            pid = spawn(
                order.argv,
                env=order.env,
                cwd=order.cwd,
                descriptors=descriptors,
                confinement=imposed,
                born=functools.partial(self._born, order.uid),
            )
            # Here and not in the loop: the kernel may let whoever moves a process wait for milliseconds. It runs: what
            # fails from here on must not be told as a start that failed.
            with contextlib.suppress(OSError, MemoryError):
                if group is None and (group := self._make_group(order.uid)) is not None:
                    group.add(pid)
            # The keeper's from here on.
            ours, writing = writing, None
            its, group = group, None
            return Start(order.uid, pid=pid, input=ours, cgroup=its)
        except SpawnError as error:
            return Start(order.uid, failure=Failure(error.errno or 0, error.phase.value, str(error.filename)))
        except OSError as error:
            return Start(order.uid, failure=Failure(error.errno or errno.EIO, Phase.SPAWN.value, order.argv[0]))
        except MemoryError:
            return Start(order.uid, failure=Failure(errno.ENOMEM, Phase.SPAWN.value, order.argv[0]))
        except ValueError:
            # The server's validation let something through that no process can be given.
            return Start(order.uid, failure=Failure(errno.EINVAL, Phase.SPAWN.value, order.argv[0]))
        finally:
            if writing is not None:
                opened.append(writing)
            for descriptor in opened:
                os.close(descriptor)  # the task holds the only writers from here on
            if group is not None:
                group.remove()

    def _born(self, uid: str, pid: int) -> None:
        """Note the pid of a process that runs, and that nobody but us can reap."""
        failpoint.reach("keeper.spawn.born")
        # Without descriptors or memory for it: as in `note`.
        with contextlib.suppress(OSError, MemoryError):
            if (process := proc.read(pid)) is not None:
                self._pidfile.note(uid, Noted(*process.key))
        failpoint.reach("keeper.spawn.noted")

    def _birthplace(self, uid: str, imposed: Confinement) -> Cgroup | None:
        """Make the group whose limits are to hold from the first instruction on, if any are asked for."""
        if not imposed.memory_bytes and not imposed.processes:
            return None
        group = self._make_group(uid)
        if group is not None:
            group.limit(memory_bytes=imposed.memory_bytes, processes=imposed.processes)
        return group

    def _make_group(self, uid: str) -> Cgroup | None:
        return None if self._cgroups is None else cgroup.make(self._cgroups, uid)
