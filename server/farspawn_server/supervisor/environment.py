"""The environment of a task: a minimal default, what the caller asked for, and the site's own names."""

from __future__ import annotations

import os
import pwd

from farspawn_server.task.life import Task

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def environment(task: Task) -> dict[str, str]:
    """Return the whole environment. Nothing of the agent's own is in it."""
    return {
        "PATH": _PATH,
        "LANG": "C.UTF-8",
        **_user(),
        **task.spec.env,
        "FARSPAWN_TASK_ID": task.task_id,
        "FARSPAWN_TASK_UID": task.uid,
        "FARSPAWN_ATTEMPT": str(task.attempt),
    }


def _user() -> dict[str, str]:
    try:
        user = pwd.getpwuid(os.getuid())
    except KeyError:
        return {"HOME": "/"}  # a container's user need not be in its passwd
    return {"HOME": user.pw_dir, "USER": user.pw_name, "LOGNAME": user.pw_name}
