"""The keeper's loop: one thread that hears signals, exits and the server, and answers each in its turn."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import socket
import time
import uuid
from collections import deque
from collections.abc import Sequence

from farspawn_core import failpoint, proc
from farspawn_core.errors import STARVATION
from farspawn_server.keeper.guard import BAD_CONFIGURATION, Guard
from farspawn_server.keeper.handover import Handover
from farspawn_server.keeper.journal import note
from farspawn_server.keeper.messages import (
    Adopt,
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
    Reconfigure,
    Signal,
    Spawn,
    Write,
    encode,
)
from farspawn_server.keeper.pidfile import Pidfile
from farspawn_server.keeper.processes import Processes

HANDLED_SIGNALS = (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)
_RECEIVE_BYTES = 1 << 18
_STARVED_SECONDS = 0.1


class Keeper:
    """Owns the processes, and the server that speaks for them."""

    def __init__(self, state: str, server: Sequence[str], handed: Handover | None) -> None:
        """Describe a keeper.

        Args:
            state: the agent's directory.
            server: the command that starts the gRPC server.
            handed: the table of this process's last image, None for its first.
        """
        self._id = handed.keeper if handed else uuid.uuid4().hex
        self._started_at = handed.started_at if handed else time.time_ns()
        self._images = handed.images if handed else 0
        self._boot = proc.boot_id()  # now: later there may be no descriptor left for it
        self._selector = selectors.DefaultSelector()
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._selector.register(self._wake_read, selectors.EVENT_READ)
        pidfile = Pidfile(os.path.join(state, "keeper.pids"))
        self._processes = Processes(pidfile, changed=self._send, taken=self._send, wake=self._wake)
        self._selector.register(self._processes, selectors.EVENT_READ)
        self._selector.register(self._processes.inputs, selectors.EVENT_READ)
        self._guard = Guard(server, expect=self._processes.expect)
        failpoint.peer = lambda: self._guard.pid
        self._server: socket.socket | None = None
        self._decoder = Decoder()
        self._inbox: deque[Message] = deque()
        self._starved = False
        self._outgoing = bytearray()
        self._shutdowns_asked = 0  # counted by signal handlers
        self._shutdowns_heeded = 0
        self._finished = False
        self._reload_asked = False
        self._reconfiguration_asked = False
        self._take_signals()
        if handed is not None:
            self._processes.take_over(handed.tasks)
            if handed.server:
                self._guard.outlast(handed.server)
            self._wake()  # of what ended a moment ago, only the last image was told
            failpoint.reach("keeper.reload.taken")

    def run(self) -> int | Handover:
        """Serve until the site is shut down; return the exit code, or what to hand to this process's next image."""
        while True:
            if self._guard.pending() == 0.0 and not self._may_end():
                self._connect()
            for key, events in self._selector.select(self._patience()):
                if key.fd == self._wake_read:
                    self._drain_wake()
                elif self._server is not None and key.fileobj is self._server:
                    self._exchange(events)
            self._work()
            self._heed_shutdown()
            if self._reconfiguration_asked:
                self._reconfiguration_asked = False
                self._send(Reconfigure())
            if self._reload_asked and not self._shutdowns_asked and not self._processes.starting:
                return self._leave()
            if self._server is None and self._may_end():
                self._processes.close()
                return 0 if self._shutdowns_asked else self._guard.last_code or 0

    def _work(self) -> None:
        """Obey the server and take in what happened. What the machine has no room for now is done a moment later."""
        try:
            while self._inbox:
                self._obey(self._inbox[0])
                self._inbox.popleft()
            self._processes.collect()
            self._starved = False
        except OSError as error:
            if error.errno not in STARVATION:
                raise
            # A keeper that died of it would lose every exit.
            self._starve(error)
        except MemoryError as error:
            self._starve(error)
            self._start_over()

    def _starve(self, error: Exception) -> None:
        if not self._starved:
            note("starved, trying again", error=str(error) or type(error).__name__)
        self._starved = True

    def _start_over(self) -> None:
        """Let the server go: what could not be told or heard for want of memory, the next one hears and says."""
        if self._server is not None:
            self._disconnect()

    def _may_end(self) -> bool:
        """Whether no server is needed any more and nothing of any task lives."""
        # What is held was not stored yet: for its sake somebody may still put the settings or the database right.
        hopeless = self._guard.last_code == BAD_CONFIGURATION and (
            self._shutdowns_asked > 0 or not self._processes.holdings()
        )
        return (self._finished or hopeless or self._shutdowns_asked > 1) and self._processes.empty

    def _leave(self) -> Handover:
        """Let go of the server and everything else that an image of this process holds, except its children."""
        note("handing over to the next image")
        failpoint.reach("keeper.reload.leaving")
        if self._server is not None:
            self._disconnect()  # the end of the socket is the end of the server
        signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED_SIGNALS)
        signal.set_wakeup_fd(-1)
        return Handover(self._id, self._started_at, self._images + 1, self._guard.pid, self._processes.hand_over())

    def _patience(self) -> float | None:
        again = _STARVED_SECONDS if self._starved else None
        spans = [span for span in (again, self._guard.pending(), self._processes.pending()) if span is not None]
        return min(spans) if spans else None

    def _take_signals(self) -> None:
        # Handlers run between any two steps of this thread: they only count. The loop hears of a signal through the
        # pipe, also of SIGCHLD.
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, _do_nothing)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._count_shutdown)
        signal.signal(signal.SIGUSR1, self._note_reload)
        signal.signal(signal.SIGHUP, self._note_reconfiguration)  # a terminal that goes sends it too, and may
        # The last image blocked them, so that none would find this one without a handler.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDLED_SIGNALS)

    def _count_shutdown(self, *_: object) -> None:
        self._shutdowns_asked += 1

    def _note_reload(self, *_: object) -> None:
        self._reload_asked = True

    def _note_reconfiguration(self, *_: object) -> None:
        self._reconfiguration_asked = True

    def _heed_shutdown(self) -> None:
        """First, the server ends every task by its plan; asked again, kill everything; once more, the server too."""
        while self._shutdowns_heeded < self._shutdowns_asked:
            self._shutdowns_heeded += 1
            note("shutdown asked for", times=self._shutdowns_heeded)
            match self._shutdowns_heeded:
                case 1:
                    self._send(Drain())
                case 2:
                    self._processes.kill_all()
                case _:
                    self._guard.kill()

    def _wake(self) -> None:
        with contextlib.suppress(BlockingIOError):  # the pipe is full: the loop will wake anyhow
            os.write(self._wake_write, b"\0")

    def _drain_wake(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while os.read(self._wake_read, _RECEIVE_BYTES):
                pass

    def _connect(self) -> None:
        self._server = self._guard.start()
        if self._server is None:
            return
        self._decoder = Decoder()
        self._inbox.clear()
        self._outgoing.clear()
        self._selector.register(self._server, selectors.EVENT_READ)
        holdings = self._processes.holdings()
        draining, tiers = self._shutdowns_heeded > 0, self._processes.tiers
        self._send(Hello(self._id, self._boot, self._started_at, draining, tiers, holdings, confines=True))

    def _disconnect(self) -> None:
        assert self._server is not None
        self._selector.unregister(self._server)
        self._server.close()
        self._server = None
        self._processes.inputs.give_up()

    def _send(self, message: Message) -> None:
        """Queue a message. Without a server it is dropped: the next one is told everything in Hello."""
        if self._server is not None:
            self._outgoing += encode(message)
            self._flush()

    def _flush(self) -> None:
        """Write what the socket takes; a server that does not read costs memory, never time."""
        assert self._server is not None
        try:
            sent = self._server.send(self._outgoing) if self._outgoing else 0
        except BlockingIOError:
            sent = 0
        except OSError:
            sent = len(self._outgoing)  # it is dead: its end of the socket will say so when read
        del self._outgoing[:sent]
        interest = selectors.EVENT_READ | (selectors.EVENT_WRITE if self._outgoing else 0)
        if interest != self._selector.get_key(self._server).events:
            self._selector.modify(self._server, interest)

    def _exchange(self, events: int) -> None:
        assert self._server is not None
        if events & selectors.EVENT_WRITE:
            self._flush()
        if events & selectors.EVENT_READ:
            try:
                data = self._server.recv(_RECEIVE_BYTES)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                self._disconnect()
                return
            try:
                self._inbox.extend(self._decoder.feed(data))
            except MemoryError as error:
                self._starve(error)
                self._start_over()

    def _obey(self, message: Message) -> None:
        match message:
            case Spawn():
                self._processes.start(message)
            case Adopt():
                self._processes.adopt(message)
            case Write():
                self._processes.inputs.write(message)
            case Signal():
                reached = self._processes.signal(message.uid, message.number, tree=message.tree)
                self._send(Answer(message.sequence, reached=reached))
            case Kill():
                self._processes.kill(message.uid)
            case Members():
                alive = [(each.pid, each.name, each.state) for each in self._processes.members(message.uid)]
                self._send(Answer(message.sequence, members=alive))
            case Forget():
                self._processes.forget(message.uid)
            case Finished():
                self._finished = True
            case Hello() | Holding() | Drain() | Reconfigure() | Answer() | InputTaken():
                note("message not understood", kind=type(message).__name__)


def _do_nothing(*_: object) -> None:
    """Handle a signal whose arrival is all that matters."""
