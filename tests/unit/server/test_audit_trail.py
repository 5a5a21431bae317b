"""The audit's writer: whole lines or none, the next file in time, and on in the same chain whatever happened before."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from support.audit import audit_files, audit_lines
from support.disks import small_disk

from farspawn_server.audit import ACCEPTED, Record, Trail
from farspawn_server.audit.verify import BrokenChainError, verify

RECORD = Record(at=1, identity="local", peer="unix:", rpc="StopTask", outcome=ACCEPTED, task_id="a")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "audit"


def a_trail(folder: Path, *, max_file_bytes: int = 1 << 20, max_files: int = 0) -> Trail:
    return Trail(folder, max_file_bytes=max_file_bytes, max_files=max_files)


def write(trail: Trail, count: int = 1) -> None:
    for _ in range(count):
        trail.append([RECORD], durable=True)


def written(folder: Path, count: int) -> None:
    """Write lines and end, as a process does."""
    trail = a_trail(folder)
    write(trail, count)
    trail.close()


def seqs(folder: Path) -> list[int]:
    return [line["seq"] for line in audit_lines(folder)]


def test_nothing_is_made_before_the_first_line(folder: Path) -> None:
    trail = a_trail(folder)
    before = folder.exists()
    write(trail)

    assert not before
    assert (folder.stat().st_mode & 0o777, audit_files(folder)[0].stat().st_mode & 0o777) == (0o700, 0o600)


def test_the_next_process_goes_on_in_the_same_chain(folder: Path) -> None:
    for _ in range(3):
        written(folder, 2)

    assert verify(folder).lines == 6
    assert len(audit_files(folder)) == 1


def test_records_of_one_call_are_one_group_of_lines(folder: Path) -> None:
    trail = a_trail(folder)
    trail.append([RECORD] * 5, durable=False)

    assert verify(folder).lines == 5


@pytest.mark.parametrize("torn", [b'{"seq":3,"time"', b"\0" * 5000, b'{"seq":3}'])
def test_an_unfinished_line_is_cut_off_and_the_next_line_says_so(folder: Path, torn: bytes) -> None:
    written(folder, 2)
    with audit_files(folder)[0].open("ab") as file:
        file.write(torn)

    written(folder, 1)

    assert verify(folder).lines == 3
    assert audit_lines(folder)[-1]["torn"] == len(torn)


def test_a_first_line_that_is_unfinished_is_cut_off(folder: Path) -> None:
    written(folder, 1)
    audit_files(folder)[0].write_bytes(b'{"seq":1')

    written(folder, 1)

    assert verify(folder).lines == 1


def test_a_file_that_was_just_begun_when_the_process_died_is_gone_on_with(folder: Path) -> None:
    written(folder, 3)
    (folder / "audit-000002.jsonl").touch()

    written(folder, 1)

    assert verify(folder).lines == 4
    assert json.loads(audit_files(folder)[1].read_bytes())["seq"] == 4


@pytest.mark.parametrize("spoil", [b"rubbish\n", b"r" * (1 << 20)])
def test_a_spoilt_end_is_not_mended_but_left_to_be_found(folder: Path, spoil: bytes) -> None:
    written(folder, 2)
    with audit_files(folder)[0].open("ab") as file:
        file.write(spoil)
    before = audit_files(folder)[0].read_bytes()

    written(folder, 2)

    assert audit_files(folder)[0].read_bytes() == before
    assert json.loads(audit_files(folder)[1].read_bytes().splitlines()[0])["broken"] == "audit-000001.jsonl"
    with pytest.raises(BrokenChainError):
        verify(folder)


def test_a_full_file_is_followed_by_another(folder: Path) -> None:
    trail = a_trail(folder, max_file_bytes=1000)
    write(trail, 20)

    assert verify(folder).lines == 20
    assert len(audit_files(folder)) > 4
    assert max(path.stat().st_size for path in audit_files(folder)) <= 1000


def test_the_oldest_files_are_removed_when_there_are_too_many(folder: Path) -> None:
    trail = a_trail(folder, max_file_bytes=1000, max_files=2)
    write(trail, 20)
    trail.close()

    kept = seqs(folder)
    assert len(audit_files(folder)) == 2
    assert kept == list(range(kept[0], 21))
    assert verify(folder).first_seq == kept[0] > 1


def test_lines_that_were_lost_are_counted_in_the_next_line(folder: Path) -> None:
    trail = a_trail(folder)
    write(trail)
    trail.lose(2)
    trail.lose(3)
    write(trail, 2)

    assert [line.get("lost") for line in audit_lines(folder)] == [None, 5, None]
    assert verify(folder).lost == 5


def test_on_a_full_disk_a_line_is_whole_or_not_there_and_all_is_well_when_there_is_room(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", megabytes=1) as disk:
        folder = disk.path / "audit"
        trail = a_trail(folder)
        write(trail, 3)
        disk.fill()
        with pytest.raises(OSError, match="No space left"):
            write(trail, 1000)
        held = audit_files(folder)[0].read_bytes()
        disk.empty()
        write(trail)

        assert held.endswith(b"\n")
        assert verify(folder).lines == held.count(b"\n") + 1
        trail.close()


def test_a_directory_that_is_gone_is_an_error_until_it_is_back(folder: Path) -> None:
    trail = a_trail(folder)
    write(trail)
    folder.rename(folder.parent / "away")
    with pytest.raises(FileNotFoundError):
        write(trail)
    (folder.parent / "away").rename(folder)
    write(trail)

    assert verify(folder).lines == 2


def test_after_a_file_that_was_removed_the_chain_goes_on_and_shows_it(folder: Path) -> None:
    trail = a_trail(folder)
    write(trail, 2)
    audit_files(folder)[0].unlink()
    write(trail, 2)

    assert seqs(folder) == [3, 4]
    assert verify(folder).first_seq == 3


@pytest.mark.parametrize("change", [b"", b"{}\n"])
def test_after_a_file_that_somebody_wrote_to_the_chain_goes_on_in_another_and_shows_it(
    folder: Path, change: bytes
) -> None:
    trail = a_trail(folder)
    write(trail, 2)
    with audit_files(folder)[0].open("ab" if change else "wb") as file:
        file.write(change)
    write(trail)

    assert json.loads(audit_files(folder)[1].read_bytes())["seq"] == 3
    with pytest.raises(BrokenChainError):
        verify(folder)


def test_a_link_in_the_place_of_a_file_is_not_followed(folder: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    folder.mkdir()
    os.symlink(victim, folder / "audit-000001.jsonl")
    with pytest.raises(OSError, match="symbolic links"):
        write(a_trail(folder))

    assert victim.read_text() == "precious"
