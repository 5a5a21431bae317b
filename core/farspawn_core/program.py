"""Find the program that a command names, as the task would find it.

The search uses the task's PATH and the task's working directory, never ours. What is found can be gone a moment
later: the kernel has the last word when it is executed.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator

from farspawn_core.errors import Phase, SpawnError


def find_program(name: str, *, search_path: str | None, directory: str) -> str:
    """Return the path to execute for `name`; if relative, then to `directory`.

    Args:
        name: the first word of a command; with a slash it is a path, taken from `directory` if relative.
        search_path: the task's PATH; None is what execvp(3) uses then, "/bin:/usr/bin".
        directory: the task's working directory; relative and empty entries of the PATH are taken from it.

    Raises:
        SpawnError: nothing of that name (ENOENT), or nothing that may be executed (EACCES), in Phase.PROGRAM.
    """
    worst = errno.ENOENT
    for candidate in candidates(name, search_path=search_path):
        # Not joined with `directory`: where that is relative too, the task, already in it, would look one floor deeper.
        problem = _problem(os.path.join(directory, candidate))
        if problem is None:
            return candidate
        if problem == errno.EACCES or "/" in name:
            worst = problem  # go on searching, as execvp(3) does, but remember that something was there
    raise SpawnError(worst, Phase.PROGRAM, name)


def candidates(name: str, *, search_path: str | None) -> Iterator[str]:
    """Yield the paths at which `name` is looked for, in order; the arguments are those of `find_program`."""
    if "/" in name:
        yield name
    elif name:
        for entry in (os.defpath if search_path is None else search_path).split(":"):
            yield os.path.join(entry, name)


def _problem(path: str) -> int | None:
    """Return the errno that executing `path` would give, or None if it looks executable."""
    try:
        found = os.stat(path)
    except OSError as error:
        return error.errno
    if not stat.S_ISREG(found.st_mode) or not os.access(path, os.X_OK, effective_ids=True):
        return errno.EACCES
    return None
