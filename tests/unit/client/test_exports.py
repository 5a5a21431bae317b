"""What `import farspawn` gives, and what it costs."""

from __future__ import annotations

import inspect
import subprocess
import sys

import farspawn
from farspawn import _errors, _values


def test_everything_public_is_exported() -> None:
    public = {name for name in vars(farspawn) if not name.startswith("_") and name not in ("os", "v1")}

    assert public == set(farspawn.__all__)
    assert sorted(farspawn.__all__) == farspawn.__all__


def test_no_error_and_no_value_is_left_out() -> None:
    errors = {
        name for name, item in vars(_errors).items() if inspect.isclass(item) and item.__module__ == _errors.__name__
    }

    assert errors | set(_values.__all__) <= set(farspawn.__all__)


def test_the_library_needs_neither_click_nor_rich_and_turns_fork_support_off() -> None:
    program = (
        "import os, sys, farspawn;"
        "print(sorted({'click', 'rich', 'msgspec', 'farspawn_server', 'farspawn_core'} & set(sys.modules)),"
        " os.environ['GRPC_ENABLE_FORK_SUPPORT'])"
    )

    told = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout

    assert told == "[] 0\n"
