"""The audit's files: audit-000001.jsonl and so on, each continuing the chain of the one before."""

from __future__ import annotations

import re
from pathlib import Path

_NAME = re.compile(r"audit-(\d{6,})\.jsonl", re.ASCII)


def name_of(number: int) -> str:
    """Return the name of a file."""
    return f"audit-{number:06d}.jsonl"


def numbers(directory: Path) -> list[int]:
    """Return the numbers of the files that are there, oldest first.

    Raises:
        OSError: the directory cannot be read.
    """
    found = (_NAME.fullmatch(path.name) for path in directory.iterdir())
    return sorted(int(each[1]) for each in found if each is not None)
