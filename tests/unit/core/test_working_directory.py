"""A process is started within the directories that it is confined to, whatever symbolic links say, then or later."""

from __future__ import annotations

import errno
import os
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.processes import PLAIN, output_of

from farspawn_core import Confinement, Phase, SpawnError, spawn
from farspawn_core.confinement import check_within

_SPAWNS = 300
_MOST_SPAWNS = 20 * _SPAWNS  # on a busy machine the swapping thread may get no turn for long


@pytest.fixture
def inside(tmp_path: Path) -> Path:
    path = tmp_path / "roots" / "inside"
    path.mkdir(parents=True)
    return path


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    path = tmp_path / "outside"
    path.mkdir()
    return path


def within(*directories: Path | str) -> Confinement:
    return Confinement(directories=[str(directory) for directory in directories])


def where(cwd: Path | str | None, confinement: Confinement) -> str:
    """Return where a process really is."""
    return output_of(["/bin/pwd", "-P"], cwd=None if cwd is None else str(cwd), confinement=confinement).strip()


def is_refused(cwd: Path | str, confinement: Confinement) -> bool:
    with pytest.raises(SpawnError) as caught:
        spawn(["/bin/true"], env=PLAIN, cwd=str(cwd), confinement=confinement)
    return (caught.value.errno, caught.value.phase, caught.value.filename) == (
        errno.EACCES,
        Phase.WORKING_DIRECTORY,
        str(cwd),
    )


def test_the_directory_itself_and_what_is_below_it_are_within(inside: Path, outside: Path) -> None:
    below = inside / "a" / "b"
    below.mkdir(parents=True)

    assert where(inside, within(outside, inside)) == os.path.realpath(inside)
    assert where(below, within(inside)) == os.path.realpath(below)
    assert where(below, within("/")) == os.path.realpath(below)
    assert where(inside / "a" / ".." / "a", within(f"{inside}/")) == os.path.realpath(inside / "a")


def test_what_is_beside_above_or_named_alike_is_refused(inside: Path, outside: Path) -> None:
    alike = inside.with_name("inside2")
    alike.mkdir()

    for path in (outside, inside.parent, alike, inside / ".." / ".." / "outside", "/"):
        assert is_refused(path, within(inside))


def test_a_link_counts_for_what_it_leads_to(inside: Path, outside: Path) -> None:
    (inside / "leads_out").symlink_to(outside)
    (outside / "leads_in").symlink_to(inside)

    assert is_refused(inside / "leads_out", within(inside))
    assert where(outside / "leads_in", within(inside)) == os.path.realpath(inside)


def test_a_named_directory_may_be_a_link(inside: Path, outside: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(inside)

    assert where(inside, within(tmp_path / "link")) == os.path.realpath(inside)
    assert is_refused(outside, within(tmp_path / "link"))


def test_a_named_directory_that_is_missing_or_relative_admits_nothing(inside: Path) -> None:
    assert is_refused(inside, within(inside / "missing"))
    assert is_refused(os.getcwd(), within("", ".", "tests"))


def test_without_a_working_directory_ours_has_to_be_within(inside: Path) -> None:
    assert where(None, within(os.getcwd())) == os.path.realpath(".")
    with pytest.raises(SpawnError) as caught:
        spawn(["/bin/true"], env=PLAIN, confinement=within(inside))
    assert caught.value.phase is Phase.WORKING_DIRECTORY


@contextmanager
def flipping(link: Path, *targets: Path) -> Iterator[None]:
    """Lead a link to one target after the other, as fast as can be."""
    done = threading.Event()
    link.symlink_to(targets[0])

    def flip() -> None:
        number = 0
        while not done.is_set():
            number += 1
            other = link.with_name("other")
            other.symlink_to(targets[number % len(targets)])
            other.rename(link)

    thread = threading.Thread(target=flip)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


@pytest.mark.parametrize("limits", [{}, {"open_files": 100}], ids=["direct", "by the executor"])
def test_a_link_that_is_swapped_meanwhile_gets_nobody_out(
    inside: Path, outside: Path, tmp_path: Path, limits: dict[str, int]
) -> None:
    confinement = Confinement(directories=[str(inside)], **limits)  # type: ignore[arg-type]
    found: Counter[str] = Counter()

    with flipping(tmp_path / "link", inside, outside):
        for number in range(_MOST_SPAWNS):
            if number >= (_SPAWNS if not limits else _SPAWNS // 5) and len(found) > 1:
                break
            try:
                found[where(tmp_path / "link", confinement)] += 1
            except SpawnError as error:
                found[f"{error.errno} {error.phase.name}"] += 1

    assert set(found) == {os.path.realpath(inside), f"{errno.EACCES} WORKING_DIRECTORY"}


def test_what_was_opened_counts_not_where_its_path_leads_by_now(inside: Path, outside: Path) -> None:
    opened = os.open(outside, os.O_PATH | os.O_DIRECTORY)
    try:
        with pytest.raises(SpawnError):
            check_within(opened, [str(inside)], str(inside))
        outside.rename(inside / "moved")

        check_within(opened, [str(inside)], str(outside))
    finally:
        os.close(opened)


def test_without_the_check_the_swapping_thread_would_get_them_out(inside: Path, outside: Path, tmp_path: Path) -> None:
    with flipping(tmp_path / "link", inside, outside):
        found: set[str] = set()
        for _ in range(_MOST_SPAWNS):
            found.add(where(tmp_path / "link", Confinement()))
            if len(found) > 1:
                break

    assert found == {os.path.realpath(inside), os.path.realpath(outside)}


def test_a_relative_program_is_that_of_the_opened_directory(inside: Path, outside: Path, tmp_path: Path) -> None:
    for directory, said in ((inside, "inside"), (outside, "outside")):
        tool = directory / "tool"
        tool.write_text(f"#!/bin/sh\necho {said}\n")
        tool.chmod(0o755)
    found: Counter[str] = Counter()

    with flipping(tmp_path / "link", inside, outside):
        for number in range(_MOST_SPAWNS):
            if number >= _SPAWNS and len(found) > 1:
                break
            try:
                found[output_of(["./tool"], cwd=str(tmp_path / "link"), confinement=within(inside)).strip()] += 1
            except SpawnError:
                found["refused"] += 1

    assert set(found) == {"inside", "refused"}
