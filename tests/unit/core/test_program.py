"""A program is searched as the task would search it: its PATH, its directory, never ours."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
from support.processes import output_of

from farspawn_core import Phase, SpawnError, find_program


def _tool(directory: Path, *, mode: int = 0o755) -> Path:
    """Make a program `tool` that says which directory it was found in."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / "tool"
    path.write_text(f"#!/bin/sh\necho {directory.name}\n", encoding="utf-8")
    path.chmod(mode)
    return path


def test_the_path_searched_is_the_tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _tool(tmp_path / "theirs")
    _tool(tmp_path / "ours")
    monkeypatch.setenv("PATH", str(tmp_path / "ours"))

    assert output_of(["tool"], env={"PATH": str(tmp_path / "theirs")}) == "theirs\n"
    with pytest.raises(SpawnError) as caught:
        output_of(["tool"], env={"PATH": "/nowhere"})
    assert caught.value.errno == errno.ENOENT


def test_the_first_of_the_path_wins(tmp_path: Path) -> None:
    _tool(tmp_path / "first")
    _tool(tmp_path / "second")

    found = output_of(["tool"], env={"PATH": f"/nowhere:{tmp_path}/first:{tmp_path}/second"})

    assert found == "first\n"


def test_without_a_path_the_systems_default_is_searched() -> None:
    assert output_of(["echo", "found"], env={}) == "found\n"


@pytest.mark.parametrize("entry", ["bin", "./bin", "../work/bin"])
def test_a_relative_entry_of_the_path_is_taken_from_the_tasks_directory(tmp_path: Path, entry: str) -> None:
    _tool(tmp_path / "work" / "bin")

    found = output_of(["tool"], env={"PATH": f"{entry}:/bin"}, cwd=str(tmp_path / "work"))

    assert found == "bin\n"


def test_a_relative_entry_of_the_path_works_with_a_relative_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _tool(tmp_path / "work" / "bin")
    monkeypatch.chdir(tmp_path)

    found = output_of(["tool"], env={"PATH": "bin"}, cwd="work")

    assert found == "bin\n"


@pytest.mark.parametrize("search_path", ["", ":/bin", "/bin:", "/bin::/usr/bin"])
def test_an_empty_entry_of_the_path_is_the_tasks_directory(tmp_path: Path, search_path: str) -> None:
    _tool(tmp_path / "work")

    found = output_of(["tool"], env={"PATH": search_path}, cwd=str(tmp_path / "work"))

    assert found == "work\n"


def test_a_relative_program_is_taken_from_the_tasks_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _tool(tmp_path / "work" / "bin")
    monkeypatch.chdir(tmp_path)

    assert output_of(["bin/tool"], cwd=str(tmp_path / "work")) == "bin\n"
    assert output_of(["bin/tool"], cwd="work") == "bin\n"


def test_the_search_goes_on_behind_what_may_not_be_executed(tmp_path: Path) -> None:
    _tool(tmp_path / "first", mode=0o644)
    _tool(tmp_path / "second")

    found = output_of(["tool"], env={"PATH": f"{tmp_path}/first:{tmp_path}/second"})

    assert found == "second\n"


def test_a_search_that_met_only_what_may_not_be_executed_says_eacces(tmp_path: Path) -> None:
    _tool(tmp_path / "first", mode=0o644)

    with pytest.raises(SpawnError) as caught:
        find_program("tool", search_path=f"{tmp_path}/first:/nowhere", directory="/")

    assert (caught.value.errno, caught.value.phase, caught.value.filename) == (errno.EACCES, Phase.PROGRAM, "tool")


def test_a_directory_of_the_programs_name_is_not_the_program(tmp_path: Path) -> None:
    (tmp_path / "first" / "tool").mkdir(parents=True)
    _tool(tmp_path / "second")

    found = output_of(["tool"], env={"PATH": f"{tmp_path}/first:{tmp_path}/second"})

    assert found == "second\n"


def test_a_path_entry_that_is_a_file_is_passed_over(tmp_path: Path) -> None:
    _tool(tmp_path / "second")

    found = output_of(["tool"], env={"PATH": f"{tmp_path}/second/tool:{tmp_path}/second"})

    assert found == "second\n"


def test_a_nameless_program_is_not_found() -> None:
    with pytest.raises(SpawnError) as caught:
        find_program("", search_path="/bin", directory="/")

    assert caught.value.errno == errno.ENOENT
