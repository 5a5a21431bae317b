"""Run the keeper: `python -m farspawn_server.keeper STATE_DIRECTORY COMMAND...`.

The command starts the gRPC server. People start `farspawnd`, which checks everything first and then becomes this.
"""

from __future__ import annotations

import fcntl
import os
import sys

from farspawn_core._libc import become_subreaper
from farspawn_server.keeper.loop import Keeper


def main() -> int:
    """Hold the state directory, become the parent of orphans, and keep processes."""
    state, *server = sys.argv[1:]
    lock = os.open(os.path.join(state, "keeper.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.read(lock, 32).decode(errors="replace").strip()
        sys.exit(f"farspawnd: {state} belongs to the agent with pid {holder}: stop that one, or choose another --state")
    os.ftruncate(lock, 0)
    os.write(lock, f"{os.getpid()}\n".encode())
    become_subreaper()
    return Keeper(server).run()


if __name__ == "__main__":
    sys.exit(main())
