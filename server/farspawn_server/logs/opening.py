"""Open the files of an output as their shim made them, whatever a task may have put in their place."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path


def open_output(path: Path) -> int | None:
    """Return a descriptor to read a file by; None: there is no such file, or a task has put something else there."""
    try:
        # Without O_NONBLOCK a FIFO in its place would keep us waiting.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ELOOP, errno.ENXIO):
            return None
        raise
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    return None


def earliest_offset(descriptor: int, size: int) -> int:
    """Return the offset of the first byte of an open file that was not let go.

    May wait for whoever writes to the file.
    """
    try:
        return os.lseek(descriptor, 0, os.SEEK_DATA)
    except OSError as error:
        if error.errno == errno.ENXIO:  # there is no data at all
            return size
        return 0  # a file system that knows no holes
