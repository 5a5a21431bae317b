"""Which ids name tasks that were forgotten to make room: of each owner so many, and for so long."""

from __future__ import annotations

from collections.abc import Iterable

from farspawn_server.store import Forgotten
from farspawn_server.task.spec import Owner, TaskId

KEPT_NS = 7 * 24 * 3600 * 1_000_000_000
MOST_PER_OWNER = 10_000


class Graveyard:
    """Their names, in memory; the tombstones themselves are in the store. Used from one event loop."""

    def __init__(self, most_per_owner: int = MOST_PER_OWNER) -> None:
        """Nobody was forgotten yet."""
        self._most = most_per_owner
        self._of: dict[Owner, dict[TaskId, int]] = {}  # when each was forgotten, the oldest first

    def load(self, forgotten: Iterable[Forgotten]) -> None:
        """Take in what is stored, the oldest first."""
        for each in forgotten:
            self._of.setdefault(each.owner, {})[each.task_id] = each.at

    def has(self, owner: Owner, task_id: TaskId, now: int) -> bool:
        """Whether this id still names a task that was forgotten."""
        at = self._of.get(owner, {}).get(task_id)
        return at is not None and now - at < KEPT_NS

    def add(self, forgotten: Forgotten) -> list[TaskId]:
        """Take one in, and return those of the same owner that have had their time, or are too many now."""
        names = self._of.setdefault(forgotten.owner, {})
        names.pop(forgotten.task_id, None)
        names[forgotten.task_id] = forgotten.at
        surplus = len(names) - self._most
        over = [
            name for place, (name, at) in enumerate(names.items()) if place < surplus or forgotten.at - at >= KEPT_NS
        ]
        for name in over:
            del names[name]
        return over

    def remove(self, owner: Owner, task_id: TaskId) -> None:
        """Let a name be used again."""
        names = self._of.get(owner, {})
        names.pop(task_id, None)
        if not names:
            self._of.pop(owner, None)
