"""Run the keeper: `python -m farspawn_server.keeper STATE_DIRECTORY COMMAND...`.

The command starts the gRPC server. People start `farspawnd`, which checks everything first and then becomes this. On
SIGUSR1 (`farspawnd reload`) the keeper executes the code that is installed by then in its own place: the same process,
so the same children. It hands on no table: shims dial in, as they do when a keeper was killed.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import sys
import time
from collections.abc import Sequence

from farspawn_core import failpoint, proc
from farspawn_core._libc import become_subreaper
from farspawn_core.stderr import hold_standard_streams
from farspawn_server.keeper.journal import note
from farspawn_server.keeper.loop import Keeper, Renew

# What the last image left for this one: descriptors of the lock and of a file that says the rest.
_HANDED = "FARSPAWN_HANDED"

_STDERR = 2

# `farspawnd reload` takes the lock for a moment to see whether anybody has it.
_PROBED_SECONDS = 0.2


def main() -> int:
    """Hold the state directory, become the parent of orphans, and keep shims."""
    hold_standard_streams()
    state, *server = sys.argv[1:]
    state = os.path.abspath(state)
    try:
        keeper, lock, images, started_in = _take(state, server)
    except OSError as error:  # a full disk, for instance
        sys.exit(f"farspawnd: {state}: {error}")
    if images:
        failpoint.reach("keeper.reload.taken")
    while (ended := keeper.run()) is Renew.IMAGE:
        handed = os.memfd_create("farspawn-handed", 0)
        try:
            os.write(handed, json.dumps([images + 1, keeper.children]).encode())
            os.lseek(handed, 0, os.SEEK_SET)
            os.set_inheritable(lock, True)
            os.environ[_HANDED] = f"{lock},{handed}"
            os.chdir(started_in)
            python = [sys.executable, "-X", "utf8", "-P", "-m"]
            os.execv(sys.executable, [*python, "farspawn_server.keeper", state, *server])  # noqa: S606  # no shell is the point
        except OSError as error:
            # The new code cannot even be executed: this image still knows everything, and goes on.
            note("next image not executed", error=str(error))
            os.environ.pop(_HANDED, None)
            os.close(handed)
            os.set_inheritable(lock, False)
            os.chdir(state)
            keeper.stay()
    assert isinstance(ended, int)
    return ended


def _take(state: str, server: Sequence[str]) -> tuple[Keeper, int, int, int]:
    """Take a state directory, or take it over from the image before.

    Return the keeper, the lock, how many images there were, and the directory that we were started in.
    """
    images, children = 0, {"bystanders": proc.children(os.getpid())}
    if left := os.environ.pop(_HANDED, ""):
        lock, handed = map(int, left.split(","))
        with open(handed, "rb") as file:
            images, children = json.load(file)
    else:
        lock = _lock(state)
    _inherit_nothing()
    started_in = os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    os.chdir(state)
    os.makedirs("logs", mode=0o700, exist_ok=True)
    become_subreaper()
    keeper = Keeper(server, started_in, **children)
    _sign(lock, images)
    return keeper, lock, images, started_in


def _inherit_nothing() -> None:
    """Have no descriptor inherited that we were started with, but for the standard streams."""
    for descriptor in map(int, os.listdir("/proc/self/fd")):
        if descriptor > _STDERR:
            with contextlib.suppress(OSError):  # of the list itself
                os.set_inheritable(descriptor, False)


def _lock(state: str) -> int:
    """Take the state directory for this agent, or say whose it is and end."""
    lock = os.open(os.path.join(state, "keeper.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    give_up_at = time.monotonic() + _PROBED_SECONDS
    while not _is_taken(lock):
        if time.monotonic() < give_up_at:
            time.sleep(0.01)  # who only looks at the lock holds it for a moment
            continue
        holder = os.read(lock, 32).decode(errors="replace").split()[:1]
        sys.exit(
            f"farspawnd: {state} belongs to the agent with pid {' '.join(holder)}: stop that one, or choose another "
            "--state"
        )
    os.ftruncate(lock, 0)  # until it is signed it names nobody: a dead agent's pid may be a stranger's by now
    return lock


def _is_taken(lock: int) -> bool:
    """Take the lock, unless somebody has it."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _sign(lock: int, images: int) -> None:
    """Write into the lock who holds it, and how often that process has executed itself: `farspawnd reload` reads it.

    And that its tasks have shims: the children of a keeper that does not say so would be lost in a reload to this one.
    """
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{os.getpid()} {images} shims\n".encode(), 0)


if __name__ == "__main__":
    sys.exit(main())
