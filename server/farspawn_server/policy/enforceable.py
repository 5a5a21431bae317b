"""Which limits of a task this site can enforce: what it cannot is refused, never ignored."""

from __future__ import annotations

import os
import pwd
from collections.abc import Collection, Mapping

_NO_GROUPS = "tasks have no cgroup v2 with a {} controller here; deploy/README.md says what it takes"


def unenforceable(controllers: Collection[str], user: str) -> Mapping[str, str]:
    """Return the fields of `Resources` that cannot be enforced, and why.

    Args:
        controllers: what the cgroups of tasks can limit: of "memory", "pids".
        user: whom tasks run as; empty: the agent's own.
    """
    found = {}
    if "memory" not in controllers:
        found["memory_bytes"] = _NO_GROUPS.format("memory")
    if "pids" not in controllers and not _is_counted_apart(user):
        found["processes"] = (
            f"{_NO_GROUPS.format('pids')}. Without one, all tasks together can be limited if they run as a user of "
            "their own: see user under [policy]"
        )
    return found


def _is_counted_apart(user: str) -> bool:
    """Whether RLIMIT_NPROC counts none of the agent's own threads; it does not hold for root: setrlimit(2)."""
    return bool(user) and pwd.getpwnam(user).pw_uid not in (0, os.geteuid())
