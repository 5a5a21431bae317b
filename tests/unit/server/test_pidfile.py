"""The pid of each start, as the next keeper finds it."""

from __future__ import annotations

import os
import resource
import threading
from pathlib import Path

import pytest
from farspawn_server.keeper.pidfile import Noted, Pidfile
from farspawn_server.keeper.processes import Processes
from support.apart import Apart
from support.waiting import until

from farspawn_server.keeper import pidfile
from farspawn_server.keeper.messages import Holding, Spawn


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


class _OutOfMemory(Pidfile):
    def note(self, uid: str, noted: Noted) -> None:  # noqa: ARG002  # the signature of what it stands for
        raise MemoryError


def start_without_memory_for_the_note() -> bool:
    """Start a task, and return whether it was told as one that runs."""
    told: list[Holding] = []
    happened = threading.Event()
    processes = Processes(_OutOfMemory("/dev/null"), changed=told.append, taken=lambda _: None, wake=happened.set)

    def collected() -> Holding | None:
        processes.collect()
        return told[-1] if told else None

    processes.start(Spawn("uid-1/1", ["sleep", "600"], {}, "/", "/dev/null", "/dev/null"))
    until(collected)
    processes.kill("uid-1/1")
    until(lambda: (held := collected()) and (held.ended or held.failure))
    return told[0].pid > 0 and told[0].failure is None


def test_a_start_is_told_though_there_is_no_memory_for_its_note() -> None:
    assert Apart().run(start_without_memory_for_the_note)
