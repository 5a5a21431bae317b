"""Which task ids are in use: a few at a time, so that clients meet; each for a while, so that histories stay short."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from random import Random

_SLOTS = 12
_USES = 25


class Ids:
    """The window of ids that clients choose from. Used from one event loop."""

    def __init__(self) -> None:
        """Begin with the first generation."""
        self.retired: deque[str] = deque()
        self._uses = [0] * _SLOTS

    def choose(self, dice: Random) -> str:
        """Return an id for a call; sooner or later it is retired, and another takes its place."""
        slot = dice.randrange(_SLOTS)
        task_id = _name(slot, self._uses[slot])
        self._uses[slot] += 1
        if self._uses[slot] % _USES == 0:
            self.retired.append(task_id)
        return task_id

    def current(self) -> Iterator[str]:
        """Yield the ids in use."""
        return (_name(slot, uses) for slot, uses in enumerate(self._uses))


def _name(slot: int, uses: int) -> str:
    return f"t{slot}.{uses // _USES}"
