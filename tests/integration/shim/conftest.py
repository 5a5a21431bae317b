"""What the tests of the shim share."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def escapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the program of `support/escapes.c`, where everybody may execute it."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("needs a C compiler, for programs that Python cannot be: install gcc")
    directory = tmp_path_factory.mktemp("escapes")
    for each in (directory, *list(directory.parents)[:2]):
        each.chmod(0o755)
    program = directory / "escapes"
    source = Path(__file__).parents[2] / "support" / "escapes.c"
    subprocess.run([compiler, "-O2", "-static", "-o", program, source], check=True)
    return program
