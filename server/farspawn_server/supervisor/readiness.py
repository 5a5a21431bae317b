"""Is a task ready? One look at a time, so that a look that hangs costs only the task that asked for it."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import os
import socket
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from farspawn_server.logs import read_on
from farspawn_server.task.spec import Readiness

INTERVAL_SECONDS = 0.2
_CONNECT_SECONDS = 1.0
_LINE_BYTES = 64 * 1024
# A task that writes faster than we read would have one look go on for ever, at the cost of all others.
_CHUNKS_IN_ONE_LOOK = 32


async def until_ready(check: Readiness, logs: Sequence[Path]) -> None:
    """Return when the check has held once. Cancel it when nobody needs to know any more."""
    look = _look(check, logs)
    loop = asyncio.get_running_loop()
    while True:
        answer: asyncio.Future[bool] = loop.create_future()
        # A thread of its own each time: a file on a dead mount hangs whoever looks.
        with contextlib.suppress(RuntimeError):  # there is no room for another thread: look again later
            threading.Thread(target=_answer, args=(look, loop, answer), daemon=True, name="readiness").start()
            if await answer:
                return
        await asyncio.sleep(INTERVAL_SECONDS)


def _look(check: Readiness, logs: Sequence[Path]) -> Callable[[], bool]:
    if check.log_line is not None:
        scanners = [LineScanner(path, check.log_line.encode()) for path in logs]
        return lambda: any([scanner.found() for scanner in scanners])  # noqa: C419  # each must read on
    if check.file is not None:
        return functools.partial(os.path.exists, check.file)
    assert check.tcp_port is not None
    return functools.partial(_accepts, check.tcp_port)


def _accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=_CONNECT_SECONDS).close()
    except OSError:
        return False
    return True


def _answer(look: Callable[[], bool], loop: asyncio.AbstractEventLoop, answer: asyncio.Future[bool]) -> None:
    try:
        found = look()
    except OSError:  # no descriptors, no right: look again later
        found = False

    def tell() -> None:
        if not answer.done():
            answer.set_result(found)

    with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
        loop.call_soon_threadsafe(tell)


class LineScanner:
    """Looks for a line in a file that grows. Reads each byte once."""

    def __init__(self, path: Path, pattern: bytes) -> None:
        """`pattern`: `*` stands for any text, everything else for itself."""
        self._path = path
        self._pattern = pattern
        self._offset = 0
        self._line = b""

    def found(self) -> bool:
        """Read on, a bounded way; return whether a line that matches has come to its end."""
        for data in itertools.islice(read_on(self._path, self._offset), _CHUNKS_IN_ONE_LOOK):
            self._offset += len(data)
            *lines, rest = (self._line + data).split(b"\n")
            self._line = rest[:_LINE_BYTES]
            if any(matches(self._pattern, line[:_LINE_BYTES]) for line in lines):
                return True
        return False


def matches(pattern: bytes, text: bytes) -> bool:
    """Whether the whole text is of the pattern. Linear: no pattern of a stranger's can keep us busy."""
    first, *middle = pattern.split(b"*")
    if not middle:
        return text == first
    last = middle.pop()
    if len(text) < len(first) + len(last) or not text.startswith(first) or not text.endswith(last):
        return False
    position, end = len(first), len(text) - len(last)
    for part in middle:
        position = text.find(part, position, end)
        if position < 0:
            return False
        position += len(part)
    return True
