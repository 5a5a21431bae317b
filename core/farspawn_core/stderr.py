"""Standard error that makes nobody wait: what its reader does not take is dropped, counted and told later.

A log collector that has stopped reading, a full pipe, a stopped terminal or a closed descriptor costs lines, never
time. A regular file is written as always: it takes everything.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import stat

_STDERR = 2
_ATOMIC_BYTES = select.PIPE_BUF  # so much a pipe takes whole, or not at all


def hold_standard_streams() -> None:
    """Open those of our standard streams that are closed: another file could get their number, and be written to."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= _STDERR:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)


class Stderr:
    """Writes lines. One thread at a time."""

    def __init__(self) -> None:
        """Find out what standard error is."""
        self._dropped = 0
        self._socket: socket.socket | None = None
        self._own: int | None = None  # the same file, with flags of our own
        with contextlib.suppress(OSError):
            mode = os.fstat(_STDERR).st_mode
            if stat.S_ISSOCK(mode):
                self._socket = socket.socket(fileno=os.dup(_STDERR))
            elif not stat.S_ISREG(mode):
                # Our descriptor's flags are everybody's who shares it: a shell, another program of a pipeline.
                flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
                self._own = os.open(f"/proc/self/fd/{_STDERR}", flags)

    def write(self, line: str) -> None:
        """Write a line, or drop it."""
        missed = f"({self._dropped} lines were dropped: nobody read them)\n" if self._dropped else ""
        try:
            self._write(_bytes(missed + line))
            self._dropped = 0
        except (OSError, ValueError):
            self._dropped += 1

    def _write(self, data: bytes) -> None:
        if self._socket is not None:
            self._socket.send(data, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
        elif self._own is not None:
            os.write(self._own, data)
        elif select.select([], [_STDERR], [], 0)[1]:
            # A regular file; or a pipe of another user's that cannot be opened anew, with room for this much.
            os.write(_STDERR, data)
        else:
            raise BlockingIOError


def _bytes(line: str) -> bytes:
    return line.encode(errors="replace")[: _ATOMIC_BYTES - 1] + b"\n"
