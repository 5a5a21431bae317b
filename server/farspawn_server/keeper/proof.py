"""Who dials is a shim of ours if it knows its run's token, holds its run's file and is not within anybody's task.

A task of the agent's own user can read the key and so make any token; it cannot shed its own shim, which stays above it
among its ancestors, and it cannot hold a file that another shim holds.
"""

from __future__ import annotations

import contextlib
import hmac
import os
import secrets

from farspawn_core import proc, shim
from farspawn_server.keeper import runfile

_KEY = "keeper.key"
_KEY_BYTES = 32


class Proof:
    """Belongs to one state directory, which is our working directory."""

    def __init__(self) -> None:
        """Read the key of the state directory, or make it."""
        key = b""
        with contextlib.suppress(FileNotFoundError), open(_KEY, "rb") as file:
            key = file.read()
        if len(key) != _KEY_BYTES:
            key = secrets.token_bytes(_KEY_BYTES)
            new = os.open(f"{_KEY}.new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            with os.fdopen(new, "wb") as file:
                file.write(key)
                file.flush()
                os.fsync(new)
            os.replace(f"{_KEY}.new", _KEY)
        self._key = key

    def token(self, run: str) -> bytes:
        """Return what the shim of a run says when it dials."""
        return hmac.digest(self._key, run.encode(), "sha256")

    def holds(self, pid: int, hello: shim.Hello) -> bool:
        """Whether this process, which has said so, is the shim of its run."""
        return (
            hmac.compare_digest(hello.token, self.token(hello.run))
            and runfile.look(hello.run) == (runfile.Evidence.HELD, pid)
            and not _is_within_a_task(pid)
        )


def _is_within_a_task(pid: int) -> bool:
    """Whether a shim is above this process that is not above us too; also if one of them has gone."""
    ours: set[int] | None = None
    while (parent := _parent(pid)) != os.getpid():
        if parent is None:
            return True
        if parent == 0:
            return False
        above = proc.read(parent)
        if above is not None and above.name == shim.NAME:
            if ours is None:
                ours = _own_ancestors()
            if parent not in ours:
                return True
        pid = parent
    return False


def _own_ancestors() -> set[int]:
    found: set[int] = set()
    parent: int | None = os.getppid()
    while parent and parent not in found:
        found.add(parent)
        parent = _parent(parent)
    return found


def _parent(pid: int) -> int | None:
    process = proc.read(pid)
    return None if process is None else process.parent
