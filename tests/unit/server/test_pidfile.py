"""The pid of each start, as the next keeper finds it."""

from __future__ import annotations

import os
import resource
from pathlib import Path

import pytest

from farspawn_server.keeper import pidfile
from farspawn_server.keeper.pidfile import Noted, Pidfile


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "keeper.pids")


def test_what_was_noted_is_found_by_the_next(path: str) -> None:
    first = Pidfile(path)
    first.note("uid-1/1", Noted(11, 100))
    first.note("uid-1/1/cleanup", Noted(12, 101))

    after = Pidfile(path)
    assert after.find("uid-1/1") == Noted(11, 100)
    assert after.find("uid-1/1/cleanup") == Noted(12, 101)
    assert after.find("uid-1/2") is None
    assert Path(path).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("cut", range(1, len("uid-2/1 12 101 .")))
def test_a_line_that_a_full_disk_has_cut_off_counts_for_nothing_and_spoils_no_other(path: str, cut: int) -> None:
    Pidfile(path).note("uid-1/1", Noted(11, 100))
    with open(path, "a", encoding="ascii") as file:
        file.write("\nuid-2/1 12 101 ."[: 1 + cut])
    Pidfile(path).note("uid-3/1", Noted(13, 102))

    after = Pidfile(path)
    assert [after.find(f"uid-{number}/1") for number in (1, 2, 3)] == [Noted(11, 100), None, Noted(13, 102)]


def test_the_last_starts_are_kept_and_the_file_does_not_grow_without_end(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pidfile, "_LARGEST_BYTES", 1000)
    noting = Pidfile(path)
    for number in range(1000):
        noting.note(f"uid-{number}/1", Noted(number + 1, 100))

    after = Pidfile(path)
    assert all(after.find(f"uid-{number}/1") == Noted(number + 1, 100) for number in range(960, 1000))
    assert after.find("uid-0/1") is None
    assert sum(os.stat(each).st_size for each in (path, f"{path}.old")) < 2100


@pytest.mark.parametrize("nowhere", ["/dev/full", "/nowhere/at/all"])
def test_a_start_that_cannot_be_noted_goes_on(nowhere: str) -> None:
    noting = Pidfile(nowhere)
    noting.note("uid-1/1", Noted(11, 100))
    noting.note("uid-2/1", Noted(12, 101))

    assert Pidfile("/nowhere/at/all").find("uid-1/1") is None


def test_it_is_noted_again_when_there_is_a_directory_again(tmp_path: Path) -> None:
    directory = tmp_path / "state"
    noting = Pidfile(str(directory / "keeper.pids"))
    noting.note("uid-1/1", Noted(11, 100))
    directory.mkdir()

    noting.note("uid-2/1", Noted(12, 101))

    assert Pidfile(str(directory / "keeper.pids")).find("uid-2/1") == Noted(12, 101)


def test_what_cannot_be_read_for_want_of_descriptors_is_read_later(path: str) -> None:
    Pidfile(path).note("uid-1/1", Noted(11, 100))
    after = Pidfile(path)

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        with pytest.raises(OSError, match="Too many open files"):
            after.find("uid-1/1")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    assert after.find("uid-1/1") == Noted(11, 100)


def test_what_cannot_be_read_at_all_was_not_noted(tmp_path: Path) -> None:
    (tmp_path / "keeper.pids").mkdir()

    assert Pidfile(str(tmp_path / "keeper.pids")).find("uid-1/1") is None
