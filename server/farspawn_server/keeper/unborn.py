"""Starts that hung when an earlier keeper was killed: they end with it, for nobody would ever find their processes.

Between its birth and its program, as long as a dead mount keeps it there, a process shows the keeper's own command and
environment: no cookie. When the mount came back it would run, and belong to no task.
"""

from __future__ import annotations

import os
import signal

from farspawn_core import proc
from farspawn_server.keeper.journal import note

_MODULE = b"farspawn_server.keeper"


def end(state: str) -> None:
    """Kill what looks like a keeper of this state directory, but has its output there. Called with its lock held."""
    for pid in proc.everything():
        process = proc.read(pid)
        # Another keeper that is about to find the lock taken has its output elsewhere.
        if process is not None and pid != os.getpid() and _has_command(pid, state) and _has_output(pid, state):
            note("start without a keeper ended", pid=pid)
            proc.send(process, signal.SIGKILL)


def _has_command(pid: int, state: str) -> bool:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            _, found, arguments = file.read().partition(_MODULE + b"\0")
    except OSError:  # it is gone, or somebody else's
        return False
    return bool(found) and arguments.startswith(os.fsencode(state) + b"\0")


def _has_output(pid: int, state: str) -> bool:
    try:
        return os.readlink(f"/proc/{pid}/fd/1").startswith(os.path.realpath(state) + "/")
    except OSError:
        return False
