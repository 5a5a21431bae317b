"""Run farspawnd to its end and return what it said: for starts that are refused."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass

from support.agent import farspawnd, plain_environment
from support.waiting import PATIENCE


@dataclass(frozen=True, slots=True)
class Said:
    """How it ended, and its two outputs."""

    code: int
    stdout: str
    stderr: str


def farspawnd_says(*options: str, **environment: str) -> Said:
    """Run farspawnd with these options, and these variables beside the test's own."""
    done = subprocess.run(
        farspawnd(*options),
        env={**plain_environment(), **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    return Said(done.returncode, done.stdout, done.stderr)
