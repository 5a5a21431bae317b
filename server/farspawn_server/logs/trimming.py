"""Keep outputs within bounds without moving offsets: the oldest bytes of a file become a hole.

A task writes to its file by itself and may outrun whoever trims it: for moments a file is larger than it may be. Where
the file system knows no holes (FALLOC_FL_PUNCH_HOLE: ext4, xfs, btrfs and tmpfs do) outputs keep growing, and that is
said in the agent's log.
"""

from __future__ import annotations

import ctypes
import errno
import logging
import os
import stat
from collections.abc import Iterable
from pathlib import Path

log = logging.getLogger(__name__)

DEFAULT_LOG_BYTES = 1 << 30
"""Kept of each output of each attempt if nobody says otherwise."""

# <linux/falloc.h>
_KEEP_SIZE = 0x01
_PUNCH_HOLE = 0x02
_BLOCK_BYTES = 4096
_SECTOR_BYTES = 512  # the unit of st_blocks, whatever the file system's own is: stat(2)

_libc = ctypes.CDLL(None, use_errno=True)
_fallocate = _libc.fallocate
_fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]


def trim(outputs: Iterable[tuple[Path, int]]) -> None:
    """Let go of the oldest bytes of each file that has more than a fifth over what is to be kept of it.

    Args:
        outputs: files, and how many bytes are kept of each, 0: the file is removed; one that is not there is passed
            over.
    """
    for path, keep in outputs:
        try:
            if not keep:
                os.unlink(path)
                continue
            found = os.stat(path, follow_symlinks=False)
            if stat.S_ISREG(found.st_mode) and found.st_blocks * _SECTOR_BYTES > keep + keep // 5 + _BLOCK_BYTES:
                _let_go(path, keep)
        except FileNotFoundError:
            pass
        except OSError as error:
            log.warning("output not trimmed", extra={"path": str(path), "error": str(error)})


def earliest_offset(descriptor: int, size: int) -> int:
    """Return the offset of the first byte of an open file that was not let go."""
    try:
        return os.lseek(descriptor, 0, os.SEEK_DATA)
    except OSError as error:
        if error.errno == errno.ENXIO:  # there is no data at all
            return size
        return 0  # a file system that knows no holes


def _let_go(path: Path, keep: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        end = (os.fstat(descriptor).st_size - keep) // _BLOCK_BYTES * _BLOCK_BYTES
        if end > 0 and _fallocate(descriptor, _KEEP_SIZE | _PUNCH_HOLE, 0, end):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
    finally:
        os.close(descriptor)
