"""What the keeper has to say to people: one line an event on standard error."""

from __future__ import annotations

import os
import time

from farspawn_core.stderr import Stderr

_stderr = Stderr()


def note(event: str, **fields: object) -> None:
    """Write a line, or drop it: a reader of our log that has stopped reading must not stop the keeper."""
    moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    _stderr.write(
        f"{moment} keeper[{os.getpid()}] {event}" + "".join(f" {name}={value!r}" for name, value in fields.items())
    )
