"""Named places at which a test can have the agent killed, to see what a crash just there leaves behind.

Switched on by the environment of the agent, in tests only: FARSPAWN_FAILPOINT=NAME:VICTIM:FLAG_FILE. VICTIM is `self`,
`peer` (the keeper for the server, the server for the keeper) or `both`; with `stopped`, `deadlock` or `runaway` the
process that reaches the place does not die, but hangs in that way. It strikes once: when it has made the flag file.
While that is there it does not, so a test can lead up to the place first. Otherwise a place costs one comparison with
None.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable

NAMES = (
    # launch
    "server.launch.before_store",
    "server.launch.recorded",
    "server.launch.stored",
    "server.launch.ordered",
    "keeper.spawn.ordered",
    "keeper.spawn.started",
    "keeper.spawn.told",
    # stop
    "server.stop.before_store",
    "server.stop.stored",
    "server.signal.stored",
    "server.signal.sent",
    "server.kill.stored",
    "server.kill.ordered",
    "keeper.kill.ordered",
    # exit
    "keeper.exit.heard",
    "keeper.exit.told",
    "server.exit.before_store",
    "server.exit.stored",
    "server.exit.forgotten",
    # cleanup, restart, delete
    "server.cleanup.stored",
    "server.cleanup.ordered",
    "server.restart.stored",
    "server.restart.ordered",
    "server.delete.stored",
    # recovery and upgrade
    "server.recovery.loaded",
    "server.recovery.judged",
    "server.recovery.done",
    "keeper.reload.leaving",
    "keeper.reload.taken",
    "keeper.shim.dialled",
)
"""Every place there is: PROCESS.STEP.MOMENT."""


def _nobody() -> int:
    return 0


peer: Callable[[], int] = _nobody
"""Gives the pid of the other process, 0 if there is none: set by the process that has the places."""

_name, _victim, _flag = (*os.environ.get("FARSPAWN_FAILPOINT", "").split(":", 2), "", "")[:3]
_armed = _name or None


def reach(name: str) -> None:
    """Die here, if a test wants it."""
    if _armed == name:
        _strike()


def _strike() -> None:
    try:
        os.close(os.open(_flag, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        return
    match _victim:
        case "stopped":
            os.kill(os.getpid(), signal.SIGSTOP)
        case "deadlock":
            lock = threading.Lock()
            with lock, lock:
                pass
        case "runaway":
            while True:
                pass
        case _:
            _kill()


def _kill() -> None:
    if _victim in ("peer", "both") and (pid := peer()):
        os.kill(pid, signal.SIGKILL)
    if _victim in ("self", "both"):
        os.kill(os.getpid(), signal.SIGKILL)
