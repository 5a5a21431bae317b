"""What `import farspawn` gives, and what it costs."""

from __future__ import annotations

import ast
import importlib
import inspect
import subprocess
import sys

import pytest

import farspawn
from farspawn import _errors, _values


def test_everything_public_is_there() -> None:
    given = {name: getattr(farspawn, name) for name in farspawn.__all__}

    assert sorted(given) == farspawn.__all__ == sorted(set(farspawn.__all__))
    assert set(given) <= set(dir(farspawn))
    assert all(inspect.isclass(item) for name, item in given.items() if name != "WatchEvent")


def test_what_type_checkers_see_is_what_is_there() -> None:
    tree = ast.parse(inspect.getsource(farspawn))
    (checking,) = (node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    seen = {
        name.name: importlib.import_module(node.module)
        for node in checking.body
        if isinstance(node, ast.ImportFrom) and node.module
        for name in node.names
    }

    assert sorted(seen) == farspawn.__all__
    for name, module in seen.items():
        assert getattr(module, name) is getattr(farspawn, name)


def test_what_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'farspawn' has no attribute 'nope'"):
        farspawn.nope  # type: ignore[attr-defined]  # noqa: B018


def test_no_error_and_no_value_is_left_out() -> None:
    errors = {
        name for name, item in vars(_errors).items() if inspect.isclass(item) and item.__module__ == _errors.__name__
    }

    assert errors | set(_values.__all__) <= set(farspawn.__all__)


def test_the_contract_is_imported_without_the_client() -> None:
    program = (
        "import os, sys, farspawn.v1, farspawn.v1.launcher_pb2;"
        "print(sorted(name for name in sys.modules if name.startswith(('farspawn._', 'click', 'grpc'))),"
        " os.environ['GRPC_ENABLE_FORK_SUPPORT'])"
    )

    told = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout

    assert told == "[] 0\n"


def test_the_library_needs_neither_click_nor_rich_and_turns_fork_support_off() -> None:
    program = (
        "import os, sys; from farspawn import *;"
        "print(sorted({'click', 'rich', 'msgspec', 'farspawn_server', 'farspawn_core'} & set(sys.modules)),"
        " os.environ['GRPC_ENABLE_FORK_SUPPORT'])"
    )

    told = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout

    assert told == "[] 0\n"
