"""Starts that hung when an earlier keeper was killed: they end with it, for nobody would ever find their processes.

Between its birth and its program, for as long as a dead mount keeps it there, a process shows the command and the
environment of its keeper. When the mount came back it would run, and belong to no task. It differs from any keeper that
runs: it leads a session, has one thread, and no descriptor but those of its program.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence

from farspawn_core import proc
from farspawn_server.keeper.entry import COOKIE
from farspawn_server.keeper.journal import note

_MODULE = b"farspawn_server.keeper"
_STREAMS = frozenset({"0", "1", "2"})


def end(state: str) -> None:
    """Kill the starts of earlier keepers of this state directory. Called with its lock held."""
    for pid in proc.everything():
        try:
            process = proc.read(pid)
            if process is not None and pid != os.getpid() and _is_unborn(process, state):
                note("start without a keeper ended", pid=pid)
                proc.send(process, signal.SIGKILL)
        except OSError:  # it is gone, or we may not look at it or signal it: then no keeper of ours has started it
            continue


def _is_unborn(process: proc.Process, state: str) -> bool:
    about = f"/proc/{process.pid}"
    # What can wait for its memory comes last.
    return (
        process.session == process.pid
        and process.threads == 1
        and set(os.listdir(f"{about}/fd")) <= _STREAMS
        and os.readlink(f"{about}/ns/mnt") == os.readlink("/proc/self/ns/mnt")
        # That of an agent within a task of ours has a cookie more than we.
        and proc.environment_value(process.pid, COOKIE) == os.environ.get(COOKIE)
        and _keeps(_command(process.pid), state)
    )


def _command(pid: int) -> Sequence[bytes]:
    with open(f"/proc/{pid}/cmdline", "rb") as file:
        return file.read().split(b"\0")


def _keeps(command: Sequence[bytes], state: str) -> bool:
    """Whether a command is that of a keeper of this state directory."""
    if _MODULE not in command[:-1]:
        return False
    return os.path.realpath(command[command.index(_MODULE) + 1]) == os.fsencode(os.path.realpath(state))
