"""A place in a task's output, and its lines."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from farspawn import LogChunk
from farspawn._logs import LONGEST_LINE, LineCutter, LogCursor
from farspawn.v1 import launcher_pb2 as pb

Part = pb.ReadLogsResponse


def lines_of(pieces: list[bytes], start: int = 0) -> list[LogChunk]:
    cutter, offset, lines = LineCutter(), start, list[LogChunk]()
    for piece in pieces:
        lines += cutter.cut(LogChunk(offset, piece))
        offset += len(piece)
    return [*lines, *cutter.rest()]


@given(st.lists(st.binary(min_size=1).map(lambda data: data.replace(b"x", b"\n"))), st.integers(0, 99))
def test_lines_are_the_output_cut_at_newlines(pieces: list[bytes], start: int) -> None:
    whole = b"".join(pieces)

    lines = lines_of(pieces, start)

    assert b"".join(line.data for line in lines) == whole
    assert [line.data.rstrip(b"\n") for line in lines if line.data != b"\n"] == [
        line for line in whole.split(b"\n") if line
    ]
    assert all(whole[line.offset - start :].startswith(line.data) for line in lines)


def test_a_line_without_an_end_comes_in_pieces() -> None:
    lines = lines_of([b"x" * (LONGEST_LINE + 5), b"\n"])

    assert [len(line.data) for line in lines] == [LONGEST_LINE, 6]


def test_bytes_on_two_sides_of_a_gap_are_not_one_line() -> None:
    cutter = LineCutter()
    list(cutter.cut(LogChunk(0, b"abc")))

    lines = list(cutter.cut(LogChunk(100, b"def\n")))

    assert lines == [LogChunk(0, b"abc"), LogChunk(100, b"def\n")]


def test_a_cursor_asks_for_what_comes_next_of_the_same_attempt() -> None:
    cursor = LogCursor(pb.ReadLogsRequest(task_id="a", stream=pb.LOG_STREAM_STDERR, tail_lines=3, follow=True))
    cursor.take(Part(header=Part.Header(start_offset=40, earliest_offset=10, attempt=2)))
    cursor.take(Part(chunk=Part.Chunk(offset=40, data=b"abc")))

    request = cursor.request()

    assert request == pb.ReadLogsRequest(task_id="a", stream=pb.LOG_STREAM_STDERR, offset=43, follow=True, attempt=2)
    assert (cursor.earliest_offset, cursor.start_offset, cursor.offset) == (10, 40, 43)


def test_a_cursor_tells_the_end_of_the_stream_from_the_end_of_the_output() -> None:
    cursor = LogCursor(pb.ReadLogsRequest())
    cursor.take(Part(end=Part.End(offset=0, complete=False)))

    assert (cursor.ended, cursor.complete) == (True, False)
