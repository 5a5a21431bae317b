"""The processes that do the work of a benchmark: the one that is timed shares neither core time nor GIL with us."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import cast

_ROOT = Path(__file__).parent.parent


def command(name: str, *arguments: object) -> list[str]:
    """Return the command that runs a file of this directory. To be run with `cwd=root()`."""
    return [sys.executable, "-m", f"benchmarks.{name}", *map(str, arguments)]


def root() -> Path:
    """Return the directory of which `benchmarks` is a part."""
    return _ROOT


@contextlib.contextmanager
def serving(name: str, address: str, *arguments: object) -> Iterator[int]:
    """Run a worker that serves at an address until it is killed, and yield its pid."""
    with subprocess.Popen(command(name, address, *arguments), cwd=_ROOT) as server:
        try:
            yield server.pid
        finally:
            server.kill()


def work(name: str, *arguments: object) -> dict[str, float]:
    """Run a worker to its end and return what it measured: one JSON object on its standard output."""
    done = subprocess.run(command(name, *arguments), cwd=_ROOT, stdout=subprocess.PIPE, check=True)
    return cast("dict[str, float]", json.loads(done.stdout))
