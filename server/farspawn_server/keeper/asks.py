"""Questions of the server that a shim is to answer: which is whose, and which will not be answered any more."""

from __future__ import annotations

import collections
import itertools
import time
from dataclasses import dataclass

from farspawn_server.keeper.messages import Answer, InputTaken

_PATIENCE_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Ask:
    """One question: the server's number of it. A write may take as long as the run does not read."""

    sequence: int
    writes: bool

    def in_vain(self) -> Answer | InputTaken:
        """Return what the server is told if nobody answers."""
        return InputTaken(self.sequence, 0, closed=True) if self.writes else Answer(self.sequence)


class Asks:
    """All questions that are open. Belongs to the keeper's loop."""

    def __init__(self) -> None:
        """Know of none."""
        self._numbers = itertools.count(1)
        self._open: dict[str, dict[int, Ask]] = {}  # by run
        self._deadlines = collections.deque[tuple[float, str, int]]()  # in order: all are given the same time

    def add(self, sequence: int, run: str, *, writes: bool = False) -> int:
        """Note a question and return the number that the shim is given."""
        number = next(self._numbers) & 0xFFFFFFFF
        self._open.setdefault(run, {})[number] = Ask(sequence, writes)
        if not writes:
            self._deadlines.append((time.monotonic() + _PATIENCE_SECONDS, run, number))
        return number

    def take(self, number: int, run: str) -> int | None:
        """Return the server's number of a question that this run answers; None: nobody waits for that."""
        asks = self._open.get(run, {})
        ask = asks.pop(number, None)
        if not asks:
            self._open.pop(run, None)
        return None if ask is None else ask.sequence

    def give_up(self, run: str) -> list[Ask]:
        """Return the questions to a run whose shim is dead, and drop them."""
        return list(self._open.pop(run, {}).values())

    def overdue(self) -> list[Ask]:
        """Return the questions whose time is over, and drop them."""
        now, found = time.monotonic(), list[Ask]()
        while self._deadlines and self._deadlines[0][0] <= now:
            _, run, number = self._deadlines.popleft()
            if (sequence := self.take(number, run)) is not None:
                found.append(Ask(sequence, writes=False))
        return found

    def clear(self) -> None:
        """Drop all: who asked is gone."""
        self._open.clear()
        self._deadlines.clear()

    def pending(self) -> float | None:
        """Return in how many seconds `overdue` has something to look at."""
        return max(0.0, self._deadlines[0][0] - time.monotonic()) if self._deadlines else None
