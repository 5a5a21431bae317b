"""Keep one server running: start it with a socket to us, and start it again when it dies or is silent.

More slowly if it keeps dying. It is silent when it has left a number of questions unanswered: by count and not by the
clock, so that a keeper that was itself stopped for a while does not take that for the server's silence.
"""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Sequence

from farspawn_core import SpawnError, spawn
from farspawn_server.keeper.journal import note

SERVER_SOCKET = 3
"""The descriptor of the server's end of the socket, in the server."""

# sysexits.h, EX_CONFIG: the server says that it can never start like this.
BAD_CONFIGURATION = 78

_FIRST_DELAY = 0.1
_LAST_DELAY = 5.0
_HEALTHY_SECONDS = 10.0
_PING_SECONDS = 1.0
_SILENCE_SECONDS = float(os.environ.get("FARSPAWN_SILENCE_SECONDS", "30"))
_STARTING = 10  # times as patient with a server that has never answered: it may have a large database to read


class Guard:
    """The server's process. The loop calls it; nothing here blocks."""

    def __init__(self, argv: Sequence[str], directory: int) -> None:
        """Describe the server's command, and a descriptor of the directory that it runs in."""
        self._argv = argv
        self._directory = f"/proc/self/fd/{directory}"
        self._delay = _FIRST_DELAY
        self._started_at = 0.0
        self._start_at: float | None = time.monotonic()
        self._ping_at = 0.0
        self._unanswered = 0
        self._has_answered = False
        self.pid = 0
        self.last_code: int | None = None

    def pending(self) -> float | None:
        """Return in how many seconds a server is to be started, or None while one runs."""
        return None if self._start_at is None else max(0.0, self._start_at - time.monotonic())

    def start(self) -> socket.socket | None:
        """Start a server and return our end of the socket to it; None if that failed and will be tried again."""
        self._started_at, self._start_at = time.monotonic(), None
        self._unanswered, self._has_answered, self._ping_at = 0, False, self._started_at + _PING_SECONDS
        try:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        except OSError as error:  # no descriptors: they will come back
            note("server not started", error=str(error))
            self._again()
            return None
        with theirs:
            # Fork handlers of gRPC stop its threads for up to a minute; nothing here forks, so nothing needs them.
            # Its C core writes to standard error by itself, and waits for whoever does not read it.
            env = {"GRPC_VERBOSITY": "NONE", **os.environ, "GRPC_ENABLE_FORK_SUPPORT": "0"}
            try:
                pid = spawn(self._argv, env=env, cwd=self._directory, descriptors=(0, 1, 2, theirs.fileno()))
            except (SpawnError, OSError) as error:
                ours.close()
                note("server not started", error=str(error))
                self._again()
                return None
        self.pid = pid
        note("server started", pid=pid)
        ours.setblocking(False)
        return ours

    def next_ping(self) -> float:
        """Return in how many seconds the server is to be asked whether it lives."""
        return max(0.0, self._ping_at - time.monotonic())

    def is_to_be_asked(self) -> bool:
        """Whether it is time to ask; one that has been silent for too long is killed instead."""
        if self.next_ping() > 0.0:
            return False
        self._ping_at = time.monotonic() + _PING_SECONDS
        patience = _SILENCE_SECONDS * (1 if self._has_answered else _STARTING)
        if self._unanswered * _PING_SECONDS >= patience:
            note("server does not answer: killed", pid=self.pid, unanswered=self._unanswered)
            self.kill()
            self._unanswered = 0
            return False
        self._unanswered += 1
        return True

    def answered(self) -> None:
        """Note that the server's loop lives."""
        self._unanswered, self._has_answered = 0, True

    def kill(self) -> None:
        """End a server that does not end by itself."""
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)

    def ended(self, returncode: int) -> None:
        """Take in how the server ended, and plan the next one."""
        note("server ended", returncode=returncode)
        self.pid = 0
        self.last_code = returncode
        if time.monotonic() - self._started_at >= _HEALTHY_SECONDS:
            self._delay = _FIRST_DELAY
        self._again()

    def _again(self) -> None:
        self._start_at = time.monotonic() + self._delay
        self._delay = min(2 * self._delay, _LAST_DELAY)
