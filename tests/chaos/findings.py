"""What was found: an invariant that does not hold, and the part of the record that shows it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """One violation. `shown`: lines for people."""

    invariant: str
    what: str
    shown: Sequence[str] = ()

    def __str__(self) -> str:
        return "\n".join([f"{self.invariant}: {self.what}", *(f"    {line}" for line in self.shown)])
