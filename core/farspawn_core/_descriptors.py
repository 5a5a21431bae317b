"""Descriptors that are about to be given to a child."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Sequence
from contextlib import ExitStack


def lift(descriptors: Sequence[int], opened: ExitStack) -> list[int]:
    """Return these descriptors, or copies of them, that are all at least as great as their count.

    The child moves descriptors one after the other: a source below the targets would be overwritten before its turn.
    """
    return [_above(len(descriptors), descriptor, opened) for descriptor in descriptors]


def _above(lowest: int, descriptor: int, opened: ExitStack) -> int:
    if descriptor >= lowest:
        return descriptor
    copy = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, lowest)
    opened.callback(os.close, copy)
    return copy
