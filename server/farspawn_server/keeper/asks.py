"""Questions of the server that a shim is to answer: which is whose, and which will not be answered any more."""

from __future__ import annotations

import itertools
import time
from dataclasses import dataclass

_PATIENCE_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Ask:
    """One question: the server's number of it, the run that it is about, and until when an answer is waited for."""

    sequence: int
    run: str
    deadline: float | None


class Asks:
    """All questions that are open. Belongs to the keeper's loop."""

    def __init__(self) -> None:
        """Know of none."""
        self._numbers = itertools.count(1)
        self._open: dict[int, Ask] = {}

    def add(self, sequence: int, run: str, *, patient: bool = False) -> int:
        """Note a question and return the number that the shim is given."""
        number = next(self._numbers) & 0xFFFFFFFF
        self._open[number] = Ask(sequence, run, None if patient else time.monotonic() + _PATIENCE_SECONDS)
        return number

    def take(self, number: int, run: str) -> int | None:
        """Return the server's number of a question that this run answers; None: nobody waits for that."""
        ask = self._open.get(number)
        if ask is None or ask.run != run:
            return None
        del self._open[number]
        return ask.sequence

    def give_up(self, run: str) -> list[Ask]:
        """Return the questions to a run whose shim is dead, and drop them."""
        return self._drop({number: ask for number, ask in self._open.items() if ask.run == run})

    def overdue(self) -> list[Ask]:
        """Return the questions whose time is over, and drop them."""
        now = time.monotonic()
        return self._drop({n: ask for n, ask in self._open.items() if ask.deadline is not None and ask.deadline <= now})

    def clear(self) -> None:
        """Drop all: who asked is gone."""
        self._open.clear()

    def pending(self) -> float | None:
        """Return in how many seconds the next one is overdue."""
        first = min((ask.deadline for ask in self._open.values() if ask.deadline is not None), default=None)
        return None if first is None else max(0.0, first - time.monotonic())

    def _drop(self, asks: dict[int, Ask]) -> list[Ask]:
        for number in asks:
            del self._open[number]
        return list(asks.values())
