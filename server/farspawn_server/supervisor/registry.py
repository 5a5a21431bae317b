"""Which tasks there are, by owner and id, and who may see them."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from farspawn_server.policy import Caller
from farspawn_server.supervisor.charge import Charge
from farspawn_server.task.errors import PolicyDeniedError, SpecInvalidError, TaskNotFoundError, Violation
from farspawn_server.task.life import Task
from farspawn_server.task.outcome import State
from farspawn_server.task.spec import Owner, TaskId, Uid


@dataclass(frozen=True, slots=True)
class Filter:
    """Which tasks: all conditions together; an empty one matches all."""

    states: frozenset[State] = frozenset()
    labels: Mapping[str, str] = field(default_factory=dict)
    owner: str = ""

    def matches(self, task: Task) -> bool:
        """Whether a task is among them."""
        return (
            (not self.states or task.state in self.states)
            and (not self.owner or task.owner == self.owner)
            and self.labels.items() <= task.spec.labels.items()
        )


class Registry:
    """All charges, in the order of their uids, which is that of their creation."""

    def __init__(self) -> None:
        """Start with none."""
        self._by_uid: dict[Uid, Charge] = {}
        self._by_name: dict[tuple[Owner, TaskId], Charge] = {}
        self._live: set[Uid] = set()
        self._live_of: Counter[Owner] = Counter()
        self._ended_of: dict[Owner, dict[Uid, None]] = {}  # the first to end first
        self._bytes: dict[Uid, int] = {}
        self._bytes_of: Counter[Owner] = Counter()
        self.live_bytes = 0
        self.ended_bytes = 0

    def add(self, charge: Charge) -> None:
        """Take a charge in. One whose task is not stored yet is found by `claimed` only."""
        task = charge.task
        self._by_uid[task.uid] = charge
        self._by_name[task.owner, task.task_id] = charge
        weight = self._bytes[task.uid] = _weight(task)
        self._bytes_of[task.owner] += weight
        if task.state.final:
            self.ended_bytes += weight
            self._ended_of.setdefault(task.owner, {})[task.uid] = None
        else:
            self.live_bytes += weight
            self._live.add(task.uid)
            self._live_of[task.owner] += 1

    def remove(self, charge: Charge) -> None:
        """Let a charge go."""
        task = charge.task
        del self._by_uid[task.uid]
        del self._by_name[task.owner, task.task_id]
        self.ended(charge)
        weight = self._bytes.pop(task.uid)
        self.ended_bytes -= weight
        self._bytes_of[task.owner] -= weight
        if not self._bytes_of[task.owner]:
            del self._bytes_of[task.owner]
        del self._ended_of[task.owner][task.uid]
        if not self._ended_of[task.owner]:
            del self._ended_of[task.owner]

    def ended(self, charge: Charge) -> None:
        """Note that a charge's task reached a final state."""
        task = charge.task
        if task.uid in self._live:
            self._live.remove(task.uid)
            self.live_bytes -= self._bytes[task.uid]
            self.ended_bytes += self._bytes[task.uid]
            self._ended_of.setdefault(task.owner, {})[task.uid] = None
            self._live_of[task.owner] -= 1
            if not self._live_of[task.owner]:
                del self._live_of[task.owner]

    def live_count_of(self, owner: Owner) -> int:
        """How many of an owner's tasks have not ended."""
        return self._live_of[owner]

    @property
    def live_count(self) -> int:
        """How many tasks have not ended."""
        return len(self._live)

    @property
    def ended_count(self) -> int:
        """How many have, and were not deleted."""
        return len(self._by_uid) - len(self._live)

    def live(self) -> list[Charge]:
        """Return the charges whose tasks have not ended."""
        return [self._by_uid[uid] for uid in self._live]

    def live_of(self, caller: Caller, which: Filter) -> list[Charge]:
        """Return the charges of the tasks that the caller may change, that have not ended and match."""
        return [each for each in self.live() if caller.may_change(each.task.owner) and which.matches(each.task)]

    def to_forget(self, count: int, weight: int) -> list[Charge]:
        """Return ended ones to make room: at least so many, of at least so many bytes together.

        Always the oldest of the owner who has most by then: who has little loses nothing for another's sake.
        """
        found: list[Charge] = []
        ended = {owner: iter(uids) for owner, uids in self._ended_of.items()}
        counts = Counter({owner: len(uids) for owner, uids in self._ended_of.items()})
        sizes = Counter({owner: self._bytes_of[owner] for owner in ended})
        while counts and (len(found) < count or weight > 0):
            owner = max(counts, key=(sizes if weight > 0 else counts).__getitem__)
            uid = next(ended[owner])
            found.append(self._by_uid[uid])
            weight -= self._bytes[uid]
            sizes[owner] -= self._bytes[uid]
            counts[owner] -= 1
            if not counts[owner]:
                del counts[owner]
        return found

    def by_uid(self, uid: str) -> Charge | None:
        """Return the charge with this uid."""
        return self._by_uid.get(Uid(uid))

    def claimed(self, owner: Owner, task_id: TaskId) -> Charge | None:
        """Return the charge that has this name, also while it is still being stored."""
        return self._by_name.get((owner, task_id))

    def find(self, caller: Caller, task_id: str) -> Charge | None:
        """Return the caller's task of this name, or the one with this uid: so an admin names what others launched."""
        charge = self._by_name.get((caller.identity, TaskId(task_id))) or self._by_uid.get(Uid(task_id))
        if charge is not None and not caller.sees(charge.task.owner):
            return None
        return charge if charge is not None and charge.task.revision else None

    def get(self, caller: Caller, task_id: str) -> Charge:
        """Return the caller's task of this name.

        Raises:
            TaskNotFoundError: there is none, or it is somebody else's.
        """
        charge = self.find(caller, task_id)
        if charge is None:
            raise TaskNotFoundError(task_id)
        return charge

    def to_change(self, caller: Caller, task_id: str) -> Charge:
        """Return the caller's task of this name, to do something to it.

        Raises:
            TaskNotFoundError: there is none for this caller.
            PolicyDeniedError: it is somebody else's, and the caller may only look at it.
        """
        charge = self.get(caller, task_id)
        if not caller.may_change(charge.task.owner):
            raise PolicyDeniedError(f"only its owner and admins may change task {task_id!r}", rule="grants.sees")
        return charge

    def page(self, caller: Caller, which: Filter, *, size: int, token: str) -> tuple[list[Task], str]:
        """Return a page of the caller's tasks, oldest first, and the token of the next one, empty at the end.

        Raises:
            SpecInvalidError: the token is not one of ours.
        """
        if token and not _UID.fullmatch(token):
            raise SpecInvalidError([Violation("page_token", "not from this site: begin again without one")])
        matching = (task for task in self._after(token) if caller.sees(task.owner) and which.matches(task))
        found: list[Task] = []
        room = PAGE_BYTES
        for task in matching:
            if len(found) == size or room <= 0:
                return found, found[-1].uid
            found.append(task)
            room -= _weight(task)
        return found, ""

    def _after(self, uid: str) -> Iterator[Task]:
        return (each.task for key, each in self._by_uid.items() if key > uid and each.task.revision)


_UID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
# A client takes 4 MiB in one message unless it was told otherwise; the last task of a page may have 1 MiB of command.
PAGE_BYTES = 2 << 20


def _weight(task: Task) -> int:
    """Return about how many bytes a task takes in a message."""
    spec, secrets = task.spec, {} if task.permit is None else task.permit.secrets
    cleanup = () if spec.cleanup is None else spec.cleanup.argv
    maps = itertools.chain(spec.env.items(), spec.labels.items(), spec.parameters.items(), secrets.items())
    strings = (*spec.argv, *cleanup, spec.working_directory, *itertools.chain(*maps))
    return 1024 * (1 + len(task.earlier)) + sum(8 + len(each.encode()) for each in strings)
