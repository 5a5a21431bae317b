"""What the keeper has to say to people: one line an event on standard error."""

from __future__ import annotations

import os
import select
import time

_STDERR = 2
_ATOMIC_BYTES = 4096  # PIPE_BUF: a pipe that select calls writable takes so many bytes without blocking


def note(event: str, **fields: object) -> None:
    """Write a line, or drop it: a reader of our log that has stopped reading must not stop the keeper."""
    moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    line = f"{moment} keeper[{os.getpid()}] {event}" + "".join(f" {name}={value!r}" for name, value in fields.items())
    try:
        _, writable, _ = select.select([], [_STDERR], [], 0)
        if writable:
            os.write(_STDERR, line.encode(errors="replace")[: _ATOMIC_BYTES - 1] + b"\n")
    except (OSError, ValueError):
        pass  # standard error is closed: nobody wants to know
