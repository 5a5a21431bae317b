"""Where the shim's program is: beside this module, where every installation puts it."""

from __future__ import annotations

import os

from farspawn_core.errors import ShimMissingError

_PATH = os.path.join(os.path.dirname(os.path.abspath(__file__)), "farspawn-shim")


def path() -> str:
    """Return the path of the shim's program.

    FARSPAWN_SHIM in the environment names another: the tests' way to one with sanitizers. Who can set the agent's
    environment can make it run anything (PYTHONPATH), so this opens no door; a task's environment is not looked at.

    Raises:
        ShimMissingError: nothing that may be executed is there.
    """
    found = os.environ.get("FARSPAWN_SHIM") or _PATH
    if not os.access(found, os.X_OK):
        raise ShimMissingError(found)
    return found
