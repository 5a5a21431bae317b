from __future__ import annotations

import os
from pathlib import Path

import pytest

from farspawn_core import shim_binary
from farspawn_core.errors import ShimMissingError


def test_the_shim_is_found_beside_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FARSPAWN_SHIM", raising=False)

    found = shim_binary.path()

    assert os.path.dirname(found) == os.path.dirname(shim_binary.__file__)
    assert os.access(found, os.X_OK)


def test_another_shim_can_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FARSPAWN_SHIM", "/bin/true")

    assert shim_binary.path() == "/bin/true"


def test_a_shim_that_is_missing_is_named_with_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FARSPAWN_SHIM", str(tmp_path / "none"))

    with pytest.raises(ShimMissingError, match=r"pip install \..*none"):
        shim_binary.path()
