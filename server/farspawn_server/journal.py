"""What the server has to say to people: one line an event on standard error, the fixed name first, then its fields."""

from __future__ import annotations

import logging
import time

from farspawn_core.stderr import Stderr

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}


class _Formatter(logging.Formatter):
    converter = staticmethod(time.gmtime)

    def format(self, record: logging.LogRecord) -> str:
        fields = {name: value for name, value in vars(record).items() if name not in _STANDARD}
        # repr: what a caller chose, a task id for instance, must not start a line or send a terminal escape.
        return super().format(record) + "".join(f" {name}={value!r}" for name, value in fields.items())


class _Handler(logging.Handler):
    """Writes without waiting: a log collector that reads no more must not stop the server."""

    def __init__(self) -> None:
        super().__init__()
        self._stderr = Stderr()

    def emit(self, record: logging.LogRecord) -> None:
        for line in self.format(record).splitlines():
            self._stderr.write(line)


def to_stderr() -> None:
    """Send all logging of this process to standard error."""
    handler = _Handler()
    handler.setFormatter(_Formatter("%(asctime)sZ server[%(process)d] %(message)s", "%Y-%m-%dT%H:%M:%S"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
