"""`ProcessAdapter`: one process and everything it starts, behind one lock. Usable in any threaded program.

What NVIDIA FLARE's class of this name should have been: no fork on any path, exits that no two threads can lose, and
an end that reaches the whole tree, also after the first process was reaped. It promises nothing about processes that
outlive this program: that is what the farspawn agent is for.
"""

from __future__ import annotations

import os
import select
import signal
import threading
import time
import uuid
import weakref
from collections.abc import Mapping, Sequence

from farspawn_core import exits, proc
from farspawn_core.errors import ExitUnknownError
from farspawn_core.exits import Exit
from farspawn_core.proc import Process
from farspawn_core.spawn import STANDARD_STREAMS, spawn
from farspawn_core.tree import Tree, send_all, strike

COOKIE = "FARSPAWN_PROCESS_UID"
"""Set in the environment of every process that `spawn_process` starts, so that its strays can be found.

Where the environment that is passed on holds it already, we are in somebody's tree ourselves: both must find it.
"""

_UNKILLABLE_SECONDS = 5.0


def spawn_process(
    cmd_args: Sequence[str],
    env: Mapping[str, str],
    *,
    cwd: str | None = None,
    descriptors: Sequence[int] = STANDARD_STREAMS,
) -> ProcessAdapter:
    """Start a program in a session of its own; see `farspawn_core.spawn.spawn` for the arguments and errors."""
    uid = uuid.uuid4().hex
    cookie = f"{env[COOKIE]}/{uid}" if COOKIE in env else uid
    return ProcessAdapter(spawn(cmd_args, env={**env, COOKIE: cookie}, cwd=cwd, descriptors=descriptors), uid)


class ProcessAdapter:
    """One process that leads a session, and all it starts. Safe to use from any number of threads."""

    def __init__(self, pid: int, uid: str = "") -> None:
        """Take over a child of this program.

        Args:
            pid: an unreaped child that leads a session of its own.
            uid: the last value of `COOKIE` in its environment; empty: there is none.
        """
        self.pid = pid
        self._lock = threading.Lock()
        leader = proc.read(pid)
        start_time = None if leader is None else leader.start_time
        self._tree = Tree(pid, cookie=(COOKIE, uid or f"none:{pid}"), start_time=start_time)  # guarded by _lock
        self._exit: Exit | None = None  # guarded by _lock
        self._reaped = False  # guarded by _lock
        pidfd = proc.open_pidfd(pid)
        # Gone already: SIGCHLD is ignored, or somebody reaps every child. An eventfd of 1 is readable for ever, as the
        # pidfd of an ended process is.
        self._pidfd = os.eventfd(1) if pidfd is None else pidfd
        # Other threads may be waiting on it: closed only when nobody holds this adapter any more.
        weakref.finalize(self, os.close, self._pidfd)
        if pidfd is None:
            self._tree.note_leader_ended()
            self._reaped = True

    def poll(self) -> int | None:
        """Return None while the process runs, else its exit code, or minus the number of the signal that ended it.

        Raises:
            ExitUnknownError: somebody else reaped it.
        """
        ended = self.exit()
        return None if ended is None else ended.returncode

    def exit(self) -> Exit | None:
        """Return None while the process runs, else all that is known of its end.

        Raises:
            ExitUnknownError: somebody else reaped it.
        """
        with self._lock:
            self._reap_if_ended()
            if self._reaped and self._exit is None:
                raise ExitUnknownError(f"process {self.pid} was reaped by somebody else: its exit status is gone")
            return self._exit

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the process to end and return what `poll` does. Waiting blocks no other caller.

        Args:
            timeout: in seconds; None: for ever.

        Raises:
            TimeoutError: it still runs.
            ExitUnknownError: somebody else reaped it.
        """
        # The pidfd, not the pid: another thread may reap meanwhile, and then the pid can be anybody's.
        if not self._ended(timeout):
            raise TimeoutError(f"process {self.pid} still runs after {timeout} s")
        code = self.poll()
        assert code is not None
        return code

    def send_signal(self, number: int) -> None:
        """Signal the first process, unless it has ended."""
        with self._lock:
            if not self._reaped:
                try:
                    signal.pidfd_send_signal(self._pidfd, number)
                except ProcessLookupError:
                    return  # reaped by somebody else, a moment ago

    def terminate(self, grace: float = 0.0) -> list[Process]:
        """End the process and everything it started. Safe to repeat, at any time, from any thread.

        Args:
            grace: in seconds; above zero, SIGTERM (and SIGCONT, so that a stopped process sees it) comes first, and
                SIGKILL only for what is left then.

        Returns:
            What even SIGKILL has not ended within five seconds, as in uninterruptible sleep. Normally empty.
        """
        if grace > 0:
            members = self._members()
            send_all(members, signal.SIGTERM)
            send_all(members, signal.SIGCONT)
            self._until_empty(time.monotonic() + grace)
        deadline = time.monotonic() + _UNKILLABLE_SECONDS
        while True:
            with self._lock:
                self._reap_if_ended()
                targets = strike(self._tree.members)
            if not targets:
                break
            _wait_for_end(targets[-1], 0.05)
            if time.monotonic() > deadline:
                return self._members()
        # Nothing of it lives: what the kernel still owes us is the leader's zombie.
        if self._ended(timeout=_UNKILLABLE_SECONDS):
            with self._lock:
                self._reap_if_ended()
        return []

    def kill(self) -> list[Process]:
        """End the process and everything it started, at once: `terminate` without grace."""
        return self.terminate()

    def _members(self) -> list[Process]:
        with self._lock:
            self._reap_if_ended()
            return self._tree.members()

    def _until_empty(self, deadline: float) -> None:
        while (members := self._members()) and (left := deadline - time.monotonic()) > 0:
            _wait_for_end(members[-1], left)  # whichever it is: the tree is not empty before that one is gone

    def _ended(self, timeout: float | None) -> bool:
        poller = select.poll()
        poller.register(self._pidfd, select.POLLIN)
        # poll(2) takes a negative timeout for an endless one; here it is a deadline that has passed.
        return bool(poller.poll(None if timeout is None else max(0.0, timeout) * 1000))

    def _reap_if_ended(self) -> None:
        """Before the tree is looked at: somebody else may have reaped the leader and its pid be a stranger's.

        Called with _lock held.
        """
        if not self._reaped and self._ended(timeout=0):
            self._reap()

    def _reap(self) -> None:
        """Take the exit of the ended leader. Called with _lock held."""
        self._tree.note_leader_ended()
        self._reaped = True
        try:
            # If somebody else reaped it, the number may be another child's already, and wait4 would wait for that one.
            os.waitid(os.P_PIDFD, self._pidfd, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            self._exit = exits.reap(self.pid)
        except ChildProcessError:
            self._exit = None  # reaped by somebody else, or SIGCHLD is ignored: `exit` says so


def _wait_for_end(process: Process, timeout: float) -> None:
    """Wait until the process ends, or `timeout` seconds."""
    descriptor = proc.open_pidfd(process.pid)
    if descriptor is None:
        return
    try:
        poller = select.poll()
        poller.register(descriptor, select.POLLIN)
        poller.poll(timeout * 1000)
    finally:
        os.close(descriptor)
