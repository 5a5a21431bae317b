"""A place in a task's output, and its lines."""

from __future__ import annotations

from datetime import UTC, datetime

from google.protobuf.timestamp_pb2 import Timestamp
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


def test_what_two_attempts_wrote_is_not_one_line() -> None:
    cutter = LineCutter()
    list(cutter.cut(LogChunk(0, b"abc", attempt=1)))

    lines = list(cutter.cut(LogChunk(3, b"def\n", attempt=2)))

    assert lines == [LogChunk(0, b"abc", attempt=1), LogChunk(3, b"def\n", attempt=2)]


def test_a_line_has_the_time_of_its_first_byte() -> None:
    cutter = LineCutter()
    first, second = (datetime(2026, 11, 28, 9, 30, each, tzinfo=UTC) for each in (1, 2))

    lines = [*cutter.cut(LogChunk(0, b"a\nb", written_at=first)), *cutter.cut(LogChunk(3, b"\nc\n", written_at=second))]

    assert [(line.data, line.written_at) for line in lines] == [(b"a\n", first), (b"b\n", first), (b"c\n", second)]


def test_a_cursor_moves_on_to_the_next_attempt() -> None:
    cursor = LogCursor(pb.ReadLogsRequest(follow=True))
    cursor.take(Part(header=Part.Header(start_offset=0, attempt=1)))
    cursor.take(Part(chunk=Part.Chunk(offset=0, data=b"abc")))
    cursor.take(Part(header=Part.Header(start_offset=0, attempt=2)))

    chunk = cursor.take(Part(chunk=Part.Chunk(offset=0, data=b"x", written_at=Timestamp(seconds=60))))

    assert chunk == LogChunk(0, b"x", attempt=2, written_at=datetime(1970, 1, 1, 0, 1, tzinfo=UTC))
    assert cursor.request() == pb.ReadLogsRequest(offset=1, follow=True, attempt=2, later_attempts=True)


def test_a_cursor_that_was_asked_for_one_attempt_stays_with_it() -> None:
    cursor = LogCursor(pb.ReadLogsRequest(follow=True, attempt=3))
    cursor.take(Part(header=Part.Header(start_offset=7, attempt=3)))

    assert cursor.request() == pb.ReadLogsRequest(offset=7, follow=True, attempt=3)


def test_a_cursor_asks_for_what_comes_next_of_the_same_attempt() -> None:
    cursor = LogCursor(pb.ReadLogsRequest(task_id="a", stream=pb.LOG_STREAM_STDERR, tail_lines=3, follow=True))
    cursor.take(Part(header=Part.Header(start_offset=40, earliest_offset=10, attempt=2)))
    cursor.take(Part(chunk=Part.Chunk(offset=40, data=b"abc")))

    request = cursor.request()

    assert request == pb.ReadLogsRequest(
        task_id="a", stream=pb.LOG_STREAM_STDERR, offset=43, follow=True, attempt=2, later_attempts=True
    )
    assert (cursor.earliest_offset, cursor.start_offset, cursor.offset) == (10, 40, 43)


def test_a_cursor_tells_the_end_of_the_stream_from_the_end_of_the_output() -> None:
    cursor = LogCursor(pb.ReadLogsRequest())
    cursor.take(Part(end=Part.End(offset=0, complete=False, lost_bytes=5)))

    assert (cursor.ended, cursor.complete, cursor.lost_bytes) == (True, False, 5)
