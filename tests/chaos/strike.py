"""Something that befell the site."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Strike:
    """What was done, from `start` until it was over."""

    kind: str
    start: float
    end: float
