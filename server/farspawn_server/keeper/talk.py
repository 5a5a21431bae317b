"""The conversation with the shims: orders out, now or as soon as they are taken, and reports and answers in."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import socket
from collections.abc import Callable

from farspawn_core import shim
from farspawn_server.keeper.asks import Asks
from farspawn_server.keeper.journal import note
from farspawn_server.keeper.messages import Answer, InputTaken, Members, Message, Signal, Write
from farspawn_server.keeper.poll import READ, WRITE, Poll
from farspawn_server.keeper.run import Run


class Talk:
    """Belongs to the table of runs. Nothing here waits."""

    def __init__(
        self,
        poll: Poll,
        tell: Callable[[Message], None],
        reported: Callable[[Run, shim.Report], None],
        closed: Callable[[Run], None],
    ) -> None:
        """Talk to nobody yet.

        Args:
            poll: calls us when a shim says something.
            tell: is given the answers for the server.
            reported: is given what a shim reports.
            closed: is told when a connection has ended.
        """
        self._poll = poll
        self._tell = tell
        self._reported = reported
        self._closed = closed
        self._asks = Asks()

    def connect(self, run: Run, link: socket.socket) -> None:
        """Talk over this connection from now on."""
        self.hang_up(run)
        run.link = link
        self._poll.watch(link.fileno(), functools.partial(self._exchange, run))
        if run.killing:
            run.due["kill"] = shim.kill()
        if run.forgotten:
            run.due["forget"] = shim.forget()
        if run.due and not self._flush(run):
            self._poll.change(link.fileno(), writing=True)

    def hang_up(self, run: Run) -> None:
        """End a connection, if there is one."""
        if run.link is not None:
            self._poll.close(run.link)
            run.link = None

    def hear_out(self, run: Run) -> None:
        """Take in what a shim has said last."""
        while self._hear(run):
            pass

    def signal(self, run: Run | None, order: Signal) -> None:
        """Have it signal its leader or all; the answer comes later."""
        number = self._asks.add(order.sequence, order.uid)
        self._ask(run, order.uid, number, shim.signal(number, order.number, tree=order.tree))

    def members(self, run: Run | None, order: Members) -> None:
        """Ask who lives; the answer comes later."""
        number = self._asks.add(order.sequence, order.uid)
        self._ask(run, order.uid, number, shim.members(number))

    def write(self, run: Run, order: Write) -> None:
        """Have it write to the input; the answer comes when the pipe has taken it."""
        if "write" in run.due:  # the shim has never heard of it: none of it was taken
            number, offset = run.writing
            if (sequence := self._asks.take(number, run.uid)) is not None:
                self._tell(InputTaken(sequence, offset))
        number = self._asks.add(order.sequence, order.uid, writes=True)
        run.writing = number, order.offset
        self.owe(run, "write", shim.write(number, order.offset, order.bytes(), end=order.end))

    def owe(self, run: Run, kind: str, message: bytes) -> None:
        """Send now, or as soon as the shim takes it: also over the next connection."""
        waited = bool(run.due)
        run.due[kind] = message
        _wake(run)
        if run.link is not None and not self._flush(run) and not waited:
            self._poll.change(run.link.fileno(), writing=True)

    def give_up(self, run: Run) -> None:
        """Take in that there is no shim: it will hear and answer nothing."""
        run.due.clear()
        for ask in self._asks.give_up(run.uid):
            self._tell(ask.in_vain())

    def go_on(self) -> None:
        """Answer questions that no shim does."""
        for ask in self._asks.overdue():
            self._tell(ask.in_vain())

    def pending(self) -> float | None:
        """Return in how many seconds `go_on` has something to do."""
        return self._asks.pending()

    def nobody_asks(self) -> None:
        """The server is gone, and with it whoever waits for answers."""
        self._asks.clear()

    def _ask(self, run: Run | None, uid: str, number: int, message: bytes) -> None:
        """Ask at once, or not at all."""
        if run is not None and run.link is not None:
            _wake(run)
            with contextlib.suppress(OSError):  # it takes nothing, or is dead
                run.link.send(message, socket.MSG_NOSIGNAL)
                return
        if (sequence := self._asks.take(number, uid)) is not None:
            self._tell(Answer(sequence))

    def _flush(self, run: Run) -> bool:
        """Send what is due; return whether all was taken. The end of a dead shim's socket is read, not written."""
        assert run.link is not None
        with contextlib.suppress(OSError):
            for kind in list(run.due):
                run.link.send(run.due[kind], socket.MSG_NOSIGNAL)
                del run.due[kind]
        return not run.due

    def _exchange(self, run: Run, events: int) -> None:
        if events & WRITE and run.link is not None and self._flush(run):
            self._poll.change(run.link.fileno(), writing=False)
        if events & READ:
            self.hear_out(run)
            if run.link is None:
                self._closed(run)

    def _hear(self, run: Run) -> bool:
        """Take in one message; return whether there may be another."""
        if run.link is None:
            return False
        try:
            data = run.link.recv(shim.MESSAGE_BYTES)
        except ConnectionResetError:
            return True  # it has ended without reading all; what it had said comes after this
        except OSError:
            return False
        try:
            message = shim.decode(data) if data else None
        except shim.GarbledError as error:
            note("shim not understood", run=run.uid, error=str(error))
            data, message = b"", None
        if not data:
            self.hang_up(run)
            return False
        match message:
            case shim.Report():
                self._reported(run, message)
            case shim.Answer(number, reached) if (sequence := self._asks.take(number, run.uid)) is not None:
                self._tell(Answer(sequence, reached))
            case shim.Members(number, total, members) if (sequence := self._asks.take(number, run.uid)) is not None:
                self._tell(Answer(sequence, total, [(each.pid, each.name, each.state, each.error) for each in members]))
            case shim.Taken(number, closed, offset) if (sequence := self._asks.take(number, run.uid)) is not None:
                self._tell(InputTaken(sequence, offset, closed=closed))
            case _:
                pass  # nobody waits for it, or only newer keepers know it
        return True


def dismiss(link: socket.socket, *messages: bytes) -> None:
    """Tell a shim that its run is not wanted."""
    with contextlib.suppress(OSError):
        while link.recv(shim.MESSAGE_BYTES):
            pass  # what is closed with something unread takes with it what was said
    with contextlib.suppress(OSError):
        for message in messages:
            link.send(message, socket.MSG_NOSIGNAL)


def keep_going(pid: int) -> None:
    """Continue a shim, should somebody have stopped it."""
    if pid > 0:
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGCONT)


def _wake(run: Run) -> None:
    if not run.child:
        keep_going(run.pid)  # of one that is our child the kernel tells us when it is stopped
