"""A keeper whose server is the test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.agent import short_directory
from support.keeper import ServedKeeper


@pytest.fixture
def directory() -> Iterator[Path]:
    """A state directory that everybody may enter."""
    with short_directory() as path:
        path.chmod(0o755)
        yield path


@pytest.fixture
def keeper(directory: Path) -> Iterator[ServedKeeper]:
    """A running keeper."""
    with ServedKeeper(directory) as running:
        yield running
