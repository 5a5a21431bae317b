"""The socket that shims dial when their keeper is gone, and the proof that each has to give before it is let in."""

from __future__ import annotations

import contextlib
import functools
import os
import socket
import struct
import time
from collections.abc import Callable

from farspawn_core import shim
from farspawn_core.errors import STARVATION
from farspawn_server.keeper.journal import note
from farspawn_server.keeper.poll import READ, Poll
from farspawn_server.keeper.proof import Proof

_BACKLOG = 4096
_AT_ONCE = 64  # accepted before anybody else has a turn
_UNPROVEN = 8  # who says nothing holds a descriptor: so many may, and the oldest of them goes first
_PAUSE_SECONDS = 0.1
_RESERVE = 16
_UCRED = struct.Struct("iII")


class Door:
    """Belongs to the keeper's loop."""

    def __init__(
        self,
        poll: Poll,
        proof: Proof,
        descriptors: int,
        admit: Callable[[socket.socket, int, shim.Hello], bool],
    ) -> None:
        """Listen in our working directory.

        Args:
            poll: calls us.
            proof: what shims are to give.
            descriptors: how many we may have.
            admit: takes the connection, the pid and the first words of who may be a shim; False: it is none.
        """
        self._poll = poll
        self._proof = proof
        self._descriptors = descriptors
        self._admit = admit
        self._unproven: dict[socket.socket, int] = {}
        self._opens_at: float | None = None
        with contextlib.suppress(FileNotFoundError):
            os.unlink(shim.SOCKET)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._listener.bind(shim.SOCKET)
        os.chmod(shim.SOCKET, 0o600)
        self._listener.listen(_BACKLOG)
        self._listener.setblocking(False)
        poll.watch(self._listener.fileno(), self._answer)

    def pending(self) -> float | None:
        """Return in how many seconds `go_on` has something to do."""
        return None if self._opens_at is None else max(0.0, self._opens_at - time.monotonic())

    def go_on(self) -> None:
        """Listen again after a pause."""
        if self.pending() == 0.0:
            self._opens_at = None
            self._poll.watch(self._listener.fileno(), self._answer)

    def close(self) -> None:
        """Listen no more."""
        if self._opens_at is None:
            self._poll.let_go(self._listener.fileno())
        self._listener.close()

    def _answer(self, _: int) -> None:
        for _ in range(_AT_ONCE):
            try:
                caller, _ = self._listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in STARVATION:
                    self._pause()
                    return
                continue  # it has hung up already
            if caller.fileno() >= self._descriptors - _RESERVE:
                caller.close()
                self._pause()
                return
            caller.setblocking(False)
            pid, _, _ = _UCRED.unpack(caller.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
            self._unproven[caller] = pid
            self._poll.watch(caller.fileno(), functools.partial(self._hear, caller))
            self._hear(caller, READ)  # a shim says it with the call
            if len(self._unproven) > _UNPROVEN:
                self._let_go(next(iter(self._unproven))).close()

    def _pause(self) -> None:
        """Without room for one more, the next call would wake us again at once."""
        note("no room for one more shim, trying again")
        self._poll.let_go(self._listener.fileno())
        self._opens_at = time.monotonic() + _PAUSE_SECONDS

    def _hear(self, caller: socket.socket, _: int) -> None:
        try:
            hello = shim.decode(caller.recv(shim.MESSAGE_BYTES))
        except BlockingIOError:
            return
        except (OSError, shim.GarbledError):
            hello = None
        pid = self._unproven[caller]
        self._let_go(caller)
        if not (isinstance(hello, shim.Hello) and self._is_wanted(caller, pid, hello)):
            caller.close()

    def _is_wanted(self, caller: socket.socket, pid: int, hello: shim.Hello) -> bool:
        try:
            wanted = self._proof.holds(pid, hello) and self._admit(caller, pid, hello)
        except OSError:
            return False  # starved: it dials again
        if not wanted:
            note("caller is no shim of ours", pid=pid, run=hello.run)
        return wanted

    def _let_go(self, caller: socket.socket) -> socket.socket:
        self._poll.let_go(caller.fileno())
        del self._unproven[caller]
        return caller
