"""Bytes of an output by offset, while it grows at its end and may lose its beginning.

What is in memory is read at once (preadv2(2) with RWF_NOWAIT), so that a busy log costs its readers no thread; for the
rest the caller waits in one. No more than that is done without a thread: what takes a lock of the file, as lseek(2)
with SEEK_DATA does on ext4, waits for whoever writes to it, and the disk.
"""

from __future__ import annotations

import errno
import itertools
import os
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from farspawn_server.logs.moments import Moments
from farspawn_server.logs.opening import earliest_offset, open_output
from farspawn_server.task.errors import LogOffsetExpiredError

CHUNK_BYTES = 64 * 1024
DEFAULT_LOG_BYTES = 1 << 30
"""Kept of each output of each attempt if nobody says otherwise."""
TAIL_BYTES = 1 << 20
"""How far back lines are counted."""

_WAIT_FOR_BYTES = 4 * CHUNK_BYTES  # so much at once where a thread is needed, which costs as much as a chunk or two
_in_memory = bytearray(CHUNK_BYTES)  # guarded by the event loop: filled and copied without giving way


@dataclass(frozen=True, slots=True)
class Chunk:
    """Bytes from `offset` on, and the second, since 1970, in which they came; None: nobody recorded it."""

    offset: int
    data: bytes
    second: int | None = None


class Reading:
    """One output, read from one event loop and, for what waits, in threads: one call at a time."""

    def __init__(self, path: Path, moments: Moments, keep: int) -> None:
        """`keep`: of the newest bytes so many are never let go."""
        self._path = path
        self._moments = moments
        self._keep = keep
        self._descriptor: int | None = None
        self._instant = True  # whether the file system tells what is in memory
        self._lock = threading.Lock()  # whoever was cancelled closes while its thread still reads
        self._closed = False

    def bounds(self) -> tuple[int, int]:
        """Return the offset of the first byte that is left, and the size. May wait."""
        with self._lock:
            if not self._open():
                return 0, 0
            assert self._descriptor is not None
            size = os.fstat(self._descriptor).st_size
            return earliest_offset(self._descriptor, size), size

    def start_of_tail(self, lines: int) -> int:
        """Return where the last `lines` lines begin, or TAIL_BYTES before the end if that is later. May wait."""
        earliest, size = self.bounds()
        if lines == 0 or size == 0:
            return size
        lowest = max(earliest, size - TAIL_BYTES)
        with self._lock:
            assert self._descriptor is not None
            data = os.pread(self._descriptor, size - lowest, lowest)
        # The newline that ends the last line begins no other.
        position = len(data) - 1 if data.endswith(b"\n") else len(data)
        for _ in range(lines):
            position = data.rfind(b"\n", 0, position)
            if position < 0:
                return lowest
        return lowest + position + 1

    def since(self, second: int) -> int | None:
        """Return where the bytes of this second or later begin; None: there are none yet. May wait."""
        return self._moments.since(second)

    def at_once(self, offset: int) -> Sequence[Chunk]:
        """Return a chunk from an offset on, or none: there is nothing yet.

        Raises:
            BlockingIOError: that is not known without waiting.
        """
        if self._descriptor is None or not self._instant:
            raise BlockingIOError
        try:
            count = os.preadv(self._descriptor, [_in_memory], offset, os.RWF_NOWAIT)
        except OSError as error:
            if error.errno == errno.EOPNOTSUPP:  # tmpfs, overlayfs
                self._instant = False
                raise BlockingIOError from None
            raise
        # The size after reading: what was let go in between was read as zeros.
        if count and offset < os.fstat(self._descriptor).st_size - self._keep:
            raise BlockingIOError
        return self._cut(offset, bytes(memoryview(_in_memory)[:count]), wait=False)

    def patiently(self, offset: int) -> Sequence[Chunk]:
        """Return some chunks from an offset on, or none, and then no descriptor is held any more. May wait.

        Raises:
            LogOffsetExpiredError: the bytes there are gone.
        """
        with self._lock:
            if self._closed or not self._open():
                return ()
            assert self._descriptor is not None
            data = os.pread(self._descriptor, _WAIT_FOR_BYTES, offset)
            if not data:
                self._release()
                return ()
            size = os.fstat(self._descriptor).st_size
            if offset < size - self._keep and (earliest := earliest_offset(self._descriptor, size)) > offset:
                raise LogOffsetExpiredError(offset, earliest=earliest, end=size)
            return self._cut(offset, data, wait=True)

    def close(self) -> None:
        """Be done with it. May wait: the last close of a file that was removed frees its blocks."""
        with self._lock:
            self._closed = True
            self._release()

    def _open(self) -> bool:
        if self._descriptor is None:
            self._descriptor = open_output(self._path)
        return self._descriptor is not None

    def _release(self) -> None:
        self._moments.close()
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _cut(self, offset: int, data: bytes, *, wait: bool) -> Sequence[Chunk]:
        if not data:
            return ()
        end = offset + len(data)
        moments = self._moments.within(offset, end, wait=wait)
        if len(data) <= CHUNK_BYTES and len(moments) == 1 and moments[0][0] <= offset:
            return (Chunk(offset, data, moments[0][1]),)
        cuts = [(offset, None), *((max(offset, start), second) for start, second in moments), (end, None)]
        return [
            Chunk(at, data[at - offset : min(at + CHUNK_BYTES, until) - offset], second)
            for (start, second), (until, _) in itertools.pairwise(cuts)
            for at in range(start, until, CHUNK_BYTES)
        ]


def read_on(path: Path, offset: int) -> Iterator[bytes]:
    """Yield what is in an output from an offset on, chunk by chunk. What was let go is zeros."""
    if (descriptor := open_output(path)) is None:
        return
    try:
        while data := os.pread(descriptor, CHUNK_BYTES, offset):
            offset += len(data)
            yield data
    finally:
        os.close(descriptor)
