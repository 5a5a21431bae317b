"""Who dials is a shim of ours if it knows its run's token, holds its run's file and is not within anybody's task.

A task of the agent's own user can read the key and so make any token; it cannot shed its own shim, which stays above it
among its ancestors, and it cannot hold a file that another shim holds: that one `Shims.admit` looks at. Where /proc
hides the shims from us (hidepid, ProtectProc=), the ancestors cannot be known, and only token and file count.
"""

from __future__ import annotations

import contextlib
import hmac
import os
import secrets

from farspawn_core import proc, shim

_KEY = "keeper.key"
_KEY_BYTES = 32
_REMEMBERED = 1000


class Proof:
    """Belongs to one state directory, which is our working directory.

    Attributes:
        new: the key was made just now: there is no shim that knows its token.
    """

    def __init__(self) -> None:
        """Read the key of the state directory, or make it."""
        key = b""
        with contextlib.suppress(FileNotFoundError), open(_KEY, "rb") as file:
            key = file.read()
        self.new = len(key) != _KEY_BYTES
        if self.new:
            key = secrets.token_bytes(_KEY_BYTES)
            made = os.open(f"{_KEY}.new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            with os.fdopen(made, "wb") as file:
                file.write(key)
                file.flush()
                os.fsync(made)
            os.replace(f"{_KEY}.new", _KEY)
        self._keyed = hmac.new(key, digestmod="sha256")
        self._free: set[tuple[int, int]] = set()  # of the ancestors of callers: those that are within nobody's task

    def token(self, run: str) -> bytes:
        """Return what the shim of a run says when it dials."""
        said = self._keyed.copy()
        said.update(run.encode())
        return said.digest()

    def holds(self, pid: int, hello: shim.Hello) -> bool:
        """Whether this process, which has said so, may be the shim of its run."""
        return hmac.compare_digest(hello.token, self.token(hello.run)) and not self._is_within_a_task(pid)

    def _is_within_a_task(self, pid: int) -> bool:
        """Whether a shim is above this process that is not above us too, or one of its ancestors goes meanwhile."""
        ours: set[int] | None = None
        passed: list[tuple[int, int]] = []
        process = proc.read(pid)
        while process is not None:
            # Who was within nobody's task never will be: orphans move up, and thousands of them have one parent.
            if process.parent in (0, os.getpid()) or process.key in self._free:
                if len(self._free) > _REMEMBERED:
                    self._free.clear()
                self._free.update(passed[1:])
                return False
            passed.append(process.key)
            above = proc.read(process.parent)
            if above is not None and above.name == shim.NAME:
                ours = _own_ancestors() if ours is None else ours
                if above.pid not in ours:
                    return True
            pid, process = process.parent, above
        return not proc.exists(pid)


def _own_ancestors() -> set[int]:
    found: set[int] = set()
    pid = os.getpid()
    while (process := proc.read(pid)) is not None and process.parent and process.parent not in found:
        pid = process.parent
        found.add(pid)
    return found
