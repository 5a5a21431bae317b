"""Bytes of an output file by offset: plain reads of a file that grows at its end and may lose its beginning."""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from farspawn_server.logs.trimming import earliest_offset

CHUNK_BYTES = 64 * 1024
TAIL_BYTES = 1 << 20
"""How far back lines are counted."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Bytes from `offset` on; the `size` of the file when they were read, and the `earliest` offset that is left.

    Where `earliest` is greater than `offset`, the bytes there are gone and `data` means nothing.
    """

    offset: int
    data: bytes
    size: int
    earliest: int = 0


def read_chunk(path: Path, offset: int) -> Chunk:
    """Return at most CHUNK_BYTES from an offset. What is no file is empty: not there yet, or put there by the task."""
    try:
        # Without O_NONBLOCK a FIFO in the output's place would keep us waiting.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ELOOP, errno.ENXIO):
            return Chunk(offset, b"", 0)
        raise
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            return Chunk(offset, b"", 0)
        size = found.st_size
        data = os.pread(descriptor, CHUNK_BYTES, offset) if offset < size else b""
        # Asked after reading: what was let go in between was read as zeros.
        return Chunk(offset, data, size, earliest_offset(descriptor, size))
    finally:
        os.close(descriptor)


def start_of_tail(path: Path, lines: int) -> int:
    """Return the offset at which the last `lines` lines begin, or that of TAIL_BYTES before the end if it is later."""
    found = read_chunk(path, 0)
    size = found.size
    if lines == 0 or size == 0:
        return size
    lowest = max(found.earliest, size - TAIL_BYTES)
    data = bytearray()
    while lowest + len(data) < size:
        if not (part := read_chunk(path, lowest + len(data)).data):
            break  # the task has cut its file
        data += part
    # The newline that ends the last line begins no other.
    position = len(data) - 1 if data.endswith(b"\n") else len(data)
    for _ in range(lines):
        position = data.rfind(b"\n", 0, position)
        if position < 0:
            return lowest
    return lowest + position + 1
