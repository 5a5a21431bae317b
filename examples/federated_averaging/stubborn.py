"""A task that does not want to end: it ignores SIGTERM, and so does a grandchild that it sets free.

The grandchild has a session of its own and no parent any more, so neither the task's session, nor its process group,
nor its family leads to it. Launchers that signal a group leave such a process behind.
"""

from __future__ import annotations

import os
import signal


def main() -> None:
    """Ignore SIGTERM, leave a daemon behind, and stay."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    tell("leader")
    child = os.fork()  # noqa: TID251  # a task may fork: the ban is for programs that have imported grpc
    if child == 0:
        os.setsid()
        if os.fork() > 0:  # noqa: TID251  # the same
            os._exit(0)
        tell("grandchild")
    else:
        os.waitpid(child, 0)  # noqa: TID251  # its own child
    while True:
        signal.pause()


def tell(who: str) -> None:
    """Say who we are."""
    print(f"{who}: pid {os.getpid()}, session {os.getsid(0)}", flush=True)


if __name__ == "__main__":
    main()
