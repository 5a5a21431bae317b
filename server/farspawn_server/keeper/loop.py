"""The keeper's loop: one thread that hears signals, exits, shims and the server, and answers each in its turn."""

from __future__ import annotations

import contextlib
import enum
import os
import signal
import socket
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import ParamSpec

from farspawn_core import failpoint, proc
from farspawn_server.keeper.door import Door
from farspawn_server.keeper.guard import BAD_CONFIGURATION, Guard
from farspawn_server.keeper.journal import note
from farspawn_server.keeper.messages import (
    Answer,
    Decoder,
    Drain,
    Finished,
    Forget,
    Hello,
    Holding,
    InputTaken,
    Kill,
    Members,
    Message,
    Ping,
    Pong,
    Reconfigure,
    Signal,
    Spawn,
    Write,
    encode,
)
from farspawn_server.keeper.poll import READ, WRITE, Poll
from farspawn_server.keeper.proof import Proof
from farspawn_server.keeper.shims import Shims
from farspawn_server.keeper.starting import Starter

HANDLED_SIGNALS = (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)
_RECEIVE_BYTES = 1 << 18
_P = ParamSpec("_P")
_STARVED_SECONDS = 0.02
_LEAVING_SECONDS = 5.0
_DISMISSAL_SECONDS = 2.0


class Renew(enum.Enum):
    """What `Keeper.run` returns instead of an exit code: the next image is to be executed."""

    IMAGE = enum.auto()


class Keeper:
    """Owns the shims, and the server that speaks for them. Its working directory is the state directory."""

    def __init__(
        self, server: Sequence[str], directory: int, *, bystanders: Iterable[int], heirs: Iterable[int] = ()
    ) -> None:
        """Describe a keeper.

        Args:
            server: the command that starts the gRPC server.
            directory: a descriptor of where that runs.
            bystanders: children of ours that are none of our business.
            heirs: children of ours that are shims, started by the last image of this process.
        """
        self._id = uuid.uuid4().hex
        self._started_at = time.time_ns()
        self._boot = proc.boot_id()  # now: later there may be no descriptor left for it
        self._poll = Poll()
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._poll.watch(self._wake_read, self._drain_wake)
        self._guard = Guard(server, directory)
        failpoint.peer = lambda: self._guard.pid
        proof = Proof()
        self._starter = Starter(proof)
        self._shims = Shims(
            self._poll,
            self._starter,
            self._send,
            lambda pid: pid == self._guard.pid,
            bystanders=bystanders,
            heirs=heirs,
            alone=proof.new,
        )
        self._door = Door(self._poll, proof, self._starter.descriptors, self._shims.admit)
        self._server: socket.socket | None = None
        self._decoder = Decoder()
        self._inbox: deque[Message] = deque()
        self._starved = False
        self._outgoing = bytearray()
        self._is_full = False  # the server's socket is
        self._children_changed = True  # of what happened before we listened to signals, nobody will tell
        self._changes: deque[tuple[int, int | None]] = deque()
        self._shutdowns_asked = 0  # counted by signal handlers
        self._shutdowns_heeded = 0
        self._finished = False
        self._reload_asked = False
        self._reconfiguration_asked = False
        self._leave_by: float | None = None  # the server is ending, for the next image's sake
        self._end_by: float | None = None  # shims are ending, and so do we
        self._take_signals()

    def run(self) -> int | Renew:
        """Serve until the site is shut down; return the exit code, or that the next image is to be executed."""
        while True:
            if self._guard.pending() == 0.0 and self._leave_by is None and not self._may_end():
                self._connect()
            well = True
            for handle, events in self._poll.wait(0.0 if self._children_changed else self._patience()):
                well &= self._try(handle, events)
            for step in (self._reap, self._obey_all, self._shims.go_on, self._door.go_on, self._ask, self._tell_news):
                well &= self._try(step)
            self._starved = not well
            self._heed_signals()
            if self._leave_by is not None and self._is_ready_to_leave():
                return Renew.IMAGE
            if self._server is None and self._may_end() and self._is_ready_to_end():
                return 0 if self._shutdowns_asked else self._guard.last_code or 0

    @property
    def children(self) -> dict[str, list[int]]:
        """What the next image is to know of our children: its `bystanders` and `heirs`."""
        return {"bystanders": list(self._shims.bystanders), "heirs": self._shims.children}

    def stay(self) -> None:
        """Go on after all: there is no next image."""
        self._leave_by, self._reload_asked = None, False
        self._take_signals()

    def _try(self, step: Callable[_P, None], *args: _P.args, **kwargs: _P.kwargs) -> bool:
        """Do a step; what cannot be done now is done a moment later. A keeper that died of it would lose every exit."""
        try:
            step(*args, **kwargs)
        except OSError as error:
            self._starve(error)
        except MemoryError as error:
            self._starve(error)
            self._start_over()
        else:
            return True
        return False

    def _starve(self, error: Exception) -> None:
        if not self._starved:
            note("starved, trying again", error=str(error) or type(error).__name__)
        self._starved = True
        time.sleep(_STARVED_SECONDS)  # what could not be taken in comes again at once

    def _reap(self) -> None:
        """Take in which children have ended or were stopped."""
        if self._children_changed:
            self._children_changed = False
            self._changes.extend(_changed_children())
        while self._changes:
            pid, returncode = self._changes[0]
            if returncode is None:
                self._shims.child_stopped(pid)
            elif pid == self._guard.pid:
                self._guard.ended(returncode)
                self._hear_out()
            else:
                self._shims.child_ended(pid)
            self._changes.popleft()

    def _obey_all(self) -> None:
        while self._inbox:
            self._obey(self._inbox.popleft())

    def _ask(self) -> None:
        """Ask the server whether it lives, and look at what nobody tells of, about once a second."""
        if self._server is not None and self._guard.is_to_be_asked():
            self._send(Ping())
            self._shims.look_at_memory()
            self._children_changed = True  # whatever the signals say
            self._shims.look_at_children(self._reap)

    def _tell_news(self) -> None:
        self._shims.tell_news()
        if self._outgoing and not self._is_full:
            self._flush()
        self._shims.news_were_sent()

    def _start_over(self) -> None:
        """Let the server go: what could not be told or heard for want of memory, the next one hears and says."""
        if self._server is not None:
            self._disconnect()

    def _may_end(self) -> bool:
        """Whether no server is needed any more and nothing of any task lives."""
        # What is held was not stored yet: for its sake somebody may still put the settings or the database right.
        hopeless = self._guard.last_code == BAD_CONFIGURATION and (
            self._shutdowns_asked > 0 or not self._shims.holdings()
        )
        return (self._finished or hopeless or self._shutdowns_asked > 1) and self._shims.empty

    def _is_ready_to_end(self) -> bool:
        """Let the shims go, and whether they have gone."""
        if self._end_by is None:
            self._end_by = time.monotonic() + _DISMISSAL_SECONDS
            self._shims.dismiss()
        if self._shims.linked and time.monotonic() < self._end_by:
            return False
        self._shims.close()
        self._door.close()
        return True

    def _leave(self) -> None:
        """Begin to make room for the next image: let go of the server."""
        note("handing over to the next image")
        failpoint.reach("keeper.reload.leaving")
        self._leave_by = time.monotonic() + _LEAVING_SECONDS
        if self._server is not None:
            self._disconnect()  # the end of the socket is the end of the server

    def _is_ready_to_leave(self) -> bool:
        """Whether all our children are shims, which the next image will recognise."""
        assert self._leave_by is not None
        late = time.monotonic() >= self._leave_by
        if late:
            self._guard.kill()
        if self._guard.pid or not (self._shims.settled or late):
            return False
        signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED_SIGNALS)  # none is to find the next image without a handler
        signal.set_wakeup_fd(-1)
        return True

    def _patience(self) -> float | None:
        spans = [0.0 if self._starved else None, self._shims.pending(), self._door.pending()]
        if self._leave_by is None:
            spans.append(self._guard.pending())
        if self._server is not None:
            spans.append(self._guard.next_ping())
        spans += [
            max(0.0, deadline - time.monotonic()) for deadline in (self._leave_by, self._end_by) if deadline is not None
        ]
        return min((span for span in spans if span is not None), default=None)

    def _take_signals(self) -> None:
        # Handlers run between any two steps of this thread: they only count. The loop hears of a signal through the
        # pipe, also of SIGCHLD.
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, self._note_child)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._count_shutdown)
        signal.signal(signal.SIGUSR1, self._note_reload)
        signal.signal(signal.SIGHUP, self._note_reconfiguration)  # a terminal that goes sends it too, and may
        # The last image blocked them, so that none would find this one without a handler.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDLED_SIGNALS)

    def _note_child(self, *_: object) -> None:
        self._children_changed = True

    def _count_shutdown(self, *_: object) -> None:
        self._shutdowns_asked += 1

    def _note_reload(self, *_: object) -> None:
        self._reload_asked = True

    def _note_reconfiguration(self, *_: object) -> None:
        self._reconfiguration_asked = True

    def _heed_signals(self) -> None:
        """First, the server ends every task by its plan; asked again, kill everything; once more, the server too."""
        while self._shutdowns_heeded < self._shutdowns_asked:
            self._shutdowns_heeded += 1
            note("shutdown asked for", times=self._shutdowns_heeded)
            match self._shutdowns_heeded:
                case 1:
                    self._send(Drain())
                case 2:
                    self._shims.kill_all()
                case _:
                    self._guard.kill()
        if self._reconfiguration_asked:
            self._reconfiguration_asked = False
            self._send(Reconfigure())
        if self._reload_asked and not self._shutdowns_asked and self._leave_by is None:
            self._leave()

    def _drain_wake(self, _: int) -> None:
        os.read(self._wake_read, _RECEIVE_BYTES)

    def _connect(self) -> None:
        self._server = self._guard.start()
        if self._server is None:
            return
        self._decoder = Decoder()
        self._inbox.clear()
        self._outgoing.clear()
        self._is_full = False
        self._poll.watch(self._server.fileno(), self._exchange)
        self._send(
            Hello(
                self._id,
                self._boot,
                self._started_at,
                draining=self._shutdowns_heeded > 0,
                tiers=["subreaper", *(["cgroup"] if self._starter.home else [])],
                controllers=sorted(self._starter.home.controllers) if self._starter.home else [],
                holdings=self._shims.holdings(),
            )
        )

    def _disconnect(self) -> None:
        assert self._server is not None
        self._poll.close(self._server)
        self._server = None
        self._outgoing.clear()
        self._shims.nobody_asks()

    def _send(self, message: Message) -> None:
        """Queue a message. Without a server it is dropped: the next one is told everything in Hello."""
        if self._server is not None:
            self._outgoing += encode(message)

    def _flush(self) -> None:
        """Write what the socket takes; a server that does not read costs memory, never time."""
        assert self._server is not None
        try:
            sent = self._server.send(self._outgoing)
        except BlockingIOError:
            sent = 0
        except OSError:
            sent = len(self._outgoing)  # it is dead: its end of the socket will say so when read
        del self._outgoing[:sent]
        if self._is_full is not bool(self._outgoing):
            self._is_full = not self._is_full
            self._poll.change(self._server.fileno(), writing=self._is_full)

    def _exchange(self, events: int) -> None:
        if events & WRITE:
            self._flush()
        if events & READ:
            self._receive()

    def _receive(self) -> bool:
        """Take in what the server has said; return whether there may be more."""
        if self._server is None:
            return False  # let go of a moment ago
        try:
            data = self._server.recv(_RECEIVE_BYTES)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        try:
            self._inbox.extend(self._decoder.feed(data))
        except MemoryError as error:
            self._starve(error)
            data = b""
        if not data:
            self._disconnect()
        return bool(data)

    def _hear_out(self) -> None:
        """Take in a dead server's last words, and close its socket: somebody else may hold the other end."""
        while self._receive():
            pass
        if self._server is not None:
            self._disconnect()

    def _obey(self, message: Message) -> None:
        match message:
            case Spawn():
                self._shims.start(message)
            case Write():
                self._shims.write(message)
            case Signal():
                self._shims.signal(message)
            case Kill():
                self._shims.kill(message.uid)
            case Members():
                self._shims.members(message)
            case Forget():
                self._shims.forget(message.uid)
            case Pong():
                self._guard.answered()
            case Finished():
                self._finished = True
            case Hello() | Holding() | Drain() | Reconfigure() | Ping() | Answer() | InputTaken():
                note("message not understood", kind=type(message).__name__)


def _changed_children() -> Iterator[tuple[int, int | None]]:
    """Yield the pids of children that have ended, reaped, with their return codes; and with None of those stopped."""
    with contextlib.suppress(ChildProcessError):
        while (child := os.waitid(os.P_ALL, 0, os.WEXITED | os.WSTOPPED | os.WNOHANG)) is not None:
            match child.si_code:
                case os.CLD_EXITED:
                    yield child.si_pid, child.si_status
                case os.CLD_KILLED | os.CLD_DUMPED:
                    yield child.si_pid, -child.si_status
                case _:
                    yield child.si_pid, None
