"""What the tests of the core are given."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import atfork
from support.processes import Family


@pytest.fixture
def family() -> Iterator[Family]:
    """The pipe to a program's processes; none of them outlives the test."""
    with Family() as pipe:
        yield pipe


@pytest.fixture
def public_path() -> Iterator[Path]:
    """An empty directory that other users may enter, as they may not enter tmp_path."""
    path = Path(tempfile.mkdtemp(prefix="farspawn-test-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def atfork_counter(tmp_path: Path) -> atfork.AtforkCounter:
    """The fork counter, to be preloaded into a process of its own."""
    try:
        return atfork.build(tmp_path, file=tmp_path / "forks")
    except atfork.NoCompilerError as error:
        pytest.skip(str(error))
