"""Keep one server running: start it with a socket to us, start it again when it dies, more slowly if it keeps dying."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable, Sequence

from farspawn_core import SpawnError, exits, spawn
from farspawn_server.keeper.journal import note

SERVER_SOCKET = 3
"""The descriptor of the server's end of the socket, in the server."""

# sysexits.h, EX_CONFIG: the server says that it can never start like this.
BAD_CONFIGURATION = 78

_FIRST_DELAY = 0.1
_LAST_DELAY = 5.0
_HEALTHY_SECONDS = 10.0


class Guard:
    """The server's process. The loop calls it; nothing here blocks."""

    def __init__(self, argv: Sequence[str], *, expect: Callable[[int, Callable[[exits.Exit], None]], None]) -> None:
        """`expect` is told of each server process, and calls back with its exit."""
        self._argv = argv
        self._expect = expect
        self._delay = _FIRST_DELAY
        self._started_at = 0.0
        self._start_at: float | None = time.monotonic()
        self.pid = 0
        self.last_code: int | None = None

    def pending(self) -> float | None:
        """Return in how many seconds a server is to be started, or None while one runs."""
        return None if self._start_at is None else max(0.0, self._start_at - time.monotonic())

    def start(self) -> socket.socket | None:
        """Start a server and return our end of the socket to it; None if that failed and will be tried again."""
        self._started_at, self._start_at = time.monotonic(), None
        try:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        except OSError as error:  # no descriptors: tasks may hold them, and will end
            note("server not started", error=str(error))
            self._again()
            return None
        with theirs:
            # Fork handlers of gRPC stop its threads for up to a minute; nothing here forks, so nothing needs them.
            env = {**os.environ, "GRPC_ENABLE_FORK_SUPPORT": "0"}
            try:
                pid = spawn(self._argv, env=env, descriptors=(0, 1, 2, theirs.fileno()))
            except (SpawnError, OSError) as error:
                ours.close()
                note("server not started", error=str(error))
                self._again()
                return None
        self.pid = pid
        self._expect(pid, self._ended)
        note("server started", pid=pid)
        ours.setblocking(False)
        return ours

    def outlast(self, pid: int) -> None:
        """Wait for a server that the last image of this process started, before there is another."""
        self.pid, self._start_at, self._started_at = pid, None, time.monotonic()
        self._expect(pid, self._ended)

    def kill(self) -> None:
        """End a server that does not end by itself."""
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)

    def _ended(self, how: exits.Exit) -> None:
        note("server ended", returncode=how.returncode)
        self.pid = 0
        self.last_code = how.returncode
        if time.monotonic() - self._started_at >= _HEALTHY_SECONDS:
            self._delay = _FIRST_DELAY
        self._again()

    def _again(self) -> None:
        self._start_at = time.monotonic() + self._delay
        self._delay = min(2 * self._delay, _LAST_DELAY)
