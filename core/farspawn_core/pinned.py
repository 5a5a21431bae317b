"""Is a program's file the one that was pinned, by its SHA-256?

The hash is that of the very file that stands at the returned path, which has no symbolic link in it, at the moment of
the last look; the kernel opens that path again to execute it. What remains in between, microseconds: whoever may write
the file, or rename in a directory of that path, can have another content executed. Only what they cannot write is worth
pinning. A script's interpreter, and libraries, are not looked at.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import threading
import time

from farspawn_core.errors import Phase, SpawnError

_Identity = tuple[int, int, int, int, int]

_REMEMBERED = 256
# A file that was changed a moment ago can change again without another time stamp: they advance by whole ticks.
_SETTLED_NS = 2_000_000_000

_lock = threading.Lock()
_digests: dict[_Identity, str] = {}  # guarded by _lock; the oldest first


def resolve(path: str, sha256: str) -> str:
    """Return the real path of a program, if its file has this hash. Takes as long as reading the file, once.

    Args:
        path: of the program, as it was found.
        sha256: in lower-case hexadecimal.

    Raises:
        SpawnError: in Phase.PROGRAM: EKEYREJECTED, it has another; EACCES, it is no regular file or may not be read.
    """
    real = os.path.realpath(path)
    try:
        # Opened in two steps: a FIFO that took the file's place would block, and a device might act.
        handle = os.open(real, os.O_PATH | os.O_CLOEXEC)
        try:
            regular = stat.S_ISREG(os.fstat(handle).st_mode)
            digest, identity = _digest(f"/proc/self/fd/{handle}") if regular else ("", None)
        finally:
            os.close(handle)
        still = _identity(os.stat(real, follow_symlinks=False))
    except OSError as error:
        raise SpawnError(error.errno or errno.EIO, Phase.PROGRAM, real) from error
    if not regular:
        raise SpawnError(errno.EACCES, Phase.PROGRAM, real)
    if digest != sha256 or still != identity:
        raise SpawnError(errno.EKEYREJECTED, Phase.PROGRAM, real)
    return real


def _digest(path: str) -> tuple[str, _Identity]:
    """Return a file's hash and what it was the hash of; an empty hash if it changed meanwhile."""
    with open(path, "rb", buffering=0) as file:
        identity = _identity(os.fstat(file.fileno()))
        with _lock:
            known = _digests.get(identity)
        if known is not None:
            return known, identity
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        if _identity(os.fstat(file.fileno())) != identity:
            return "", identity
    if time.time_ns() - identity[-1] > _SETTLED_NS:
        with _lock:
            while len(_digests) >= _REMEMBERED:
                del _digests[next(iter(_digests))]
            _digests[identity] = digest
    return digest, identity


def _identity(found: os.stat_result) -> _Identity:
    """Return what changes with the content. Nobody but root can set back the last, the time of change."""
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
