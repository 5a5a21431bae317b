"""Run files and outputs as a shim writes them: core/shim/protocol.h."""

from __future__ import annotations

import ctypes
import os
import struct
from pathlib import Path

_MOMENT = struct.Struct("<qQQ")
_KEEP_SIZE_PUNCH_HOLE = 3  # <linux/falloc.h>
_fallocate = ctypes.CDLL(None, use_errno=True).fallocate
_fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]


def write_run(path: Path, *moments: tuple[int, int, int]) -> Path:
    """Write a run file: second, offset of standard output and of standard error, of each record; return its path."""
    path.write_bytes(bytes(_MOMENT.size) + b"".join(_MOMENT.pack(*moment) for moment in moments))
    return path


def punch(path: Path, end: int) -> None:
    """Let go of all before an offset, a multiple of 4096."""
    descriptor = os.open(path, os.O_WRONLY)
    try:
        if _fallocate(descriptor, _KEEP_SIZE_PUNCH_HOLE, 0, end):
            raise OSError(ctypes.get_errno(), "fallocate")
    finally:
        os.close(descriptor)
