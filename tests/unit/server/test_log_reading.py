"""Output files: bytes by offset, and where the last lines begin."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from farspawn_server.logs import CHUNK_BYTES, LogFiles, Output, read_chunk, start_of_tail
from farspawn_server.task.spec import Uid


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "output"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.binary(max_size=60), offset=st.integers(0, 70))
def test_a_chunk_is_what_is_there_from_its_offset_on(file: Path, text: bytes, offset: int) -> None:
    file.write_bytes(text)

    chunk = read_chunk(file, offset)

    assert (chunk.offset, chunk.data, chunk.size) == (offset, text[offset:], len(text))


def test_a_chunk_is_bounded(file: Path) -> None:
    file.write_bytes(b"x" * (CHUNK_BYTES + 5))

    assert len(read_chunk(file, 0).data) == CHUNK_BYTES
    assert len(read_chunk(file, CHUNK_BYTES).data) == 5


def test_a_file_that_is_not_there_is_empty(file: Path) -> None:
    assert read_chunk(file, 3).data == b""
    assert start_of_tail(file, 3) == 0


def test_a_link_that_a_task_put_in_the_place_of_its_output_is_not_followed(file: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret")
    file.symlink_to(secret)

    assert read_chunk(file, 0).data == b""


def test_a_fifo_that_a_task_put_in_the_place_of_its_output_keeps_nobody_waiting(file: Path) -> None:
    os.mkfifo(file)

    assert read_chunk(file, 0).data == b""


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text("ab\n", max_size=40).map(str.encode), lines=st.integers(0, 12))
def test_a_tail_is_the_last_lines(file: Path, text: bytes, lines: int) -> None:
    file.write_bytes(text)

    tail = text[start_of_tail(file, lines) :]

    assert tail == b"".join(text.splitlines(keepends=True)[-lines:] if lines else [])


def test_a_tail_looks_back_over_at_most_a_mebibyte(file: Path) -> None:
    file.write_bytes(b"a\n" + b"x" * (2 << 20))

    assert start_of_tail(file, 2) == 2 + (1 << 20)


def test_the_output_of_tasks_that_nobody_knows_is_removed(tmp_path: Path) -> None:
    logs = LogFiles(tmp_path / "logs")
    kept, gone = Uid("kept"), Uid("gone")
    for uid in (kept, gone):
        for output in Output:
            logs.path(uid, 1, output).write_text("x")

    logs.remove_unknown({kept})

    assert sorted(path.name for path in (tmp_path / "logs").iterdir()) == ["kept.1.stderr", "kept.1.stdout"]


def test_all_attempts_of_a_task_are_removed(tmp_path: Path) -> None:
    logs = LogFiles(tmp_path / "logs")
    for attempt in (1, 2, 3):
        logs.path(Uid("a"), attempt, Output.STDOUT).write_text("x")

    logs.remove(Uid("a"), 3)

    assert list((tmp_path / "logs").iterdir()) == []
