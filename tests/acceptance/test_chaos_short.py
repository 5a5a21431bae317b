"""Chaos in small: what `make chaos` does for a quarter of an hour, for twenty seconds and always the same."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

RUN = Path(__file__).parents[1] / "chaos" / "run.py"
PATIENCE = 100.0
"""In seconds; after the twenty all tasks have to end, on a machine that is busy with other tests."""


@pytest.mark.slow
def test_twenty_seconds_of_chaos_find_nothing() -> None:
    with subprocess.Popen(
        [sys.executable, str(RUN), "--minutes", str(20 / 60), "--seed", "short"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as run:
        try:
            said, _ = run.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            run.terminate()  # it ends what it has started
            said, _ = run.communicate()

    assert run.returncode == 0, said
