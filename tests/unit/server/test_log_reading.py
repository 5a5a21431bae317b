"""Output files: bytes by offset, when they came, where the last lines begin, and what is removed."""

from __future__ import annotations

import itertools
import os
import struct
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.runs import punch, write_run

from farspawn_server.logs import CHUNK_BYTES, Chunk, LogFiles, Moments, Output, Reading
from farspawn_server.task.errors import LogOffsetExpiredError
from farspawn_server.task.spec import Uid

KEEP = 1 << 30

_files = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "output"


def reading(file: Path, *runs: Path, keep: int = KEEP) -> Reading:
    """Return what reads a file whose run files are these; by default it has one, which is not there."""
    return Reading(file, Moments(runs or (file.with_name("no run"),), 0), keep)


def whole(one: Reading, offset: int = 0, step: Callable[[int], Sequence[Chunk]] | None = None) -> list[Chunk]:
    """Read from an offset to the end, as a thread does if no `step` is given."""
    found: list[Chunk] = []
    while chunks := (step or one.patiently)(offset):
        found += chunks
        offset = chunks[-1].offset + len(chunks[-1].data)
    return found


def as_a_loop_does(one: Reading) -> Callable[[int], Sequence[Chunk]]:
    def step(offset: int) -> Sequence[Chunk]:
        try:
            return one.at_once(offset)
        except BlockingIOError:
            return one.patiently(offset)

    return step


@_files
@given(text=st.binary(max_size=60), offset=st.integers(0, 70))
def test_a_chunk_is_what_is_there_from_its_offset_on(file: Path, text: bytes, offset: int) -> None:
    file.write_bytes(text)

    assert b"".join(each.data for each in reading(file).patiently(offset)) == text[offset:]


def test_chunks_are_bounded_and_without_gaps(file: Path) -> None:
    file.write_bytes(os.urandom(9 * CHUNK_BYTES + 5))
    one = reading(file)

    patiently, at_once = whole(one), whole(one, step=as_a_loop_does(one))

    assert max(len(each.data) for each in (*patiently, *at_once)) == CHUNK_BYTES
    assert b"".join(each.data for each in patiently) == b"".join(each.data for each in at_once) == file.read_bytes()
    assert [each.offset for each in at_once] == list(range(0, 10 * CHUNK_BYTES, CHUNK_BYTES))


def test_a_file_that_is_not_there_is_empty(file: Path) -> None:
    one = reading(file)

    assert (one.patiently(3), one.bounds(), one.start_of_tail(3)) == ((), (0, 0), 0)


def test_a_link_that_a_task_put_in_the_place_of_its_output_is_not_followed(file: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret")
    file.symlink_to(secret)

    assert reading(file).patiently(0) == ()


def test_a_fifo_that_a_task_put_in_the_place_of_its_output_keeps_nobody_waiting(file: Path) -> None:
    os.mkfifo(file)

    assert reading(file).patiently(0) == ()


def test_nothing_is_read_without_waiting_before_somebody_has_opened_the_file(file: Path) -> None:
    file.write_bytes(b"x")

    with pytest.raises(BlockingIOError):
        reading(file).at_once(0)


def test_whoever_finds_nothing_more_holds_no_descriptor(file: Path, tmp_path: Path) -> None:
    file.write_bytes(b"x")
    one = reading(file, write_run(tmp_path / "run", (60, 0, 0)))
    before = len(os.listdir("/proc/self/fd"))

    assert whole(one) == [Chunk(0, b"x", 60)]
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_reading_that_was_closed_opens_nothing_any_more(file: Path) -> None:
    file.write_bytes(b"x")
    one = reading(file)
    one.close()

    assert one.patiently(0) == ()


# --- what was let go -------------------------------------------------------------------------------------------------


def test_bytes_that_were_let_go_are_not_read_as_zeros(file: Path) -> None:
    file.write_bytes(b"x" * (5 * CHUNK_BYTES))
    one = reading(file, keep=2 * CHUNK_BYTES)
    one.patiently(0)
    punch(file, 2 * CHUNK_BYTES)

    with pytest.raises(BlockingIOError):  # the loop does not ask the file system for holes
        one.at_once(0)
    with pytest.raises(LogOffsetExpiredError) as gone:
        one.patiently(0)
    assert gone.value.metadata == {"earliest": str(2 * CHUNK_BYTES), "next": str(5 * CHUNK_BYTES)}
    assert one.bounds() == (2 * CHUNK_BYTES, 5 * CHUNK_BYTES)


def test_zeros_that_a_task_wrote_are_no_hole(file: Path) -> None:
    file.write_bytes(bytes(3 * CHUNK_BYTES))
    one = reading(file, keep=CHUNK_BYTES)

    assert b"".join(each.data for each in whole(one)) == bytes(3 * CHUNK_BYTES)
    assert one.bounds() == (0, 3 * CHUNK_BYTES)


# --- when bytes came -------------------------------------------------------------------------------------------------


def test_chunks_are_cut_where_another_second_begins(file: Path, tmp_path: Path) -> None:
    file.write_bytes(b"aaabbbccc")
    one = reading(file, write_run(tmp_path / "run", (60, 0, 0), (61, 3, 0), (62, 3, 9), (65, 6, 9)))

    assert one.patiently(0) == [Chunk(0, b"aaa", 60), Chunk(3, b"bbb", 62), Chunk(6, b"ccc", 65)]


def test_of_bytes_before_the_first_record_the_time_is_not_known(file: Path, tmp_path: Path) -> None:
    file.write_bytes(b"aaabbb")
    one = reading(file, write_run(tmp_path / "run", (60, 3, 0)))

    assert one.patiently(0) == [Chunk(0, b"aaa", None), Chunk(3, b"bbb", 60)]


def test_the_two_outputs_have_their_own_times(file: Path, tmp_path: Path) -> None:
    file.write_bytes(b"abc")
    run = write_run(tmp_path / "run", (60, 0, 0), (61, 0, 1), (62, 0, 2))

    chunks = Reading(file, Moments([run], 1), KEEP).patiently(0)

    assert [(each.data, each.second) for each in chunks] == [(b"a", 60), (b"b", 61), (b"c", 62)]


def test_a_cleanup_writes_on_at_times_of_its_own_run(file: Path, tmp_path: Path) -> None:
    file.write_bytes(b"abcd")
    runs = write_run(tmp_path / "run", (60, 0, 0), (61, 1, 0)), write_run(tmp_path / "cleanup", (70, 2, 0), (71, 3, 0))

    assert [each.second for each in whole(reading(file, *runs))] == [60, 61, 70, 71]
    assert [each.second for each in whole(reading(file, *runs), 3)] == [71]


def test_a_record_that_comes_with_its_bytes_is_seen_by_whoever_follows(file: Path, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    one = reading(file, run)
    step, seen = as_a_loop_does(one), list[Chunk]()
    for second in range(60, 70):
        offset = second - 60
        write_run(run, *((60 + each, each, 0) for each in range(offset + 1)))
        file.write_bytes(b"x" * (offset + 1))
        seen += step(offset)

    assert [(each.offset, each.second) for each in seen] == [(each, 60 + each) for each in range(10)]


def test_a_record_that_is_written_only_in_part_does_not_count(file: Path, tmp_path: Path) -> None:
    file.write_bytes(b"ab")
    run = write_run(tmp_path / "run", (60, 0, 0))
    with run.open("ab") as more:
        more.write(struct.pack("<qQ", 61, 1))

    assert reading(file, run).patiently(0) == (Chunk(0, b"ab", 60),)


@_files
@given(
    steps=st.lists(st.tuples(st.integers(1, 9), st.integers(0, 40)), max_size=400),
    start=st.integers(0, 2000),
    piece=st.integers(1, 5000),
)
def test_each_byte_has_the_time_of_the_last_record_before_it(
    tmp_path: Path, steps: list[tuple[int, int]], start: int, piece: int
) -> None:
    records, second, offset, times = list[tuple[int, int, int]](), 100, 0, list[int]()
    for later, count in steps:
        second += later
        records.append((second, offset, 0))
        times += [second] * count
        offset += count
    moments = Moments([write_run(tmp_path / "run", *records)], 0)

    found: list[int] = []
    for begin in range(start, offset, piece):
        end = min(begin + piece, offset)
        cuts = [*moments.within(begin, end, wait=True), (end, 0)]
        for (at, told), (until, _) in itertools.pairwise(cuts):
            found += [told] * (until - max(at, begin))

    assert found == times[start:]


@pytest.mark.parametrize(("second", "offset"), [(0, 0), (60, 0), (61, 3), (62, 6), (64, 6), (65, None)])
def test_what_came_since_a_second_begins_at_the_first_record_that_is_not_older(
    tmp_path: Path, second: int, offset: int | None
) -> None:
    run = write_run(tmp_path / "run", (60, 0, 0), (61, 3, 0), (64, 6, 0))

    assert Moments([run], 0).since(second) == offset


def test_what_came_since_is_looked_for_in_the_cleanup_too(tmp_path: Path) -> None:
    runs = write_run(tmp_path / "run", (60, 0, 0)), write_run(tmp_path / "cleanup", (70, 5, 0))

    assert Moments(runs, 0).since(65) == 5


def test_where_nobody_recorded_times_all_has_come_since(tmp_path: Path) -> None:
    assert Moments([tmp_path / "none", write_run(tmp_path / "run")], 0).since(65) == 0


# --- tails -----------------------------------------------------------------------------------------------------------


@_files
@given(text=st.text("ab\n", max_size=40).map(str.encode), lines=st.integers(0, 12))
def test_a_tail_is_the_last_lines(file: Path, text: bytes, lines: int) -> None:
    file.write_bytes(text)

    tail = text[reading(file).start_of_tail(lines) :]

    assert tail == b"".join(text.splitlines(keepends=True)[-lines:] if lines else [])


def test_a_tail_looks_back_over_at_most_a_mebibyte(file: Path) -> None:
    file.write_bytes(b"a\n" + b"x" * (2 << 20))

    assert reading(file).start_of_tail(2) == 2 + (1 << 20)


# --- what is removed -------------------------------------------------------------------------------------------------


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def everything_of(logs: LogFiles, uid: Uid, attempt: int) -> None:
    for path in (*(logs.path(uid, attempt, output) for output in Output), *logs.runs(uid, attempt)):
        path.write_text("x")


def test_the_output_of_tasks_that_nobody_knows_is_removed(tmp_path: Path) -> None:
    logs = LogFiles(tmp_path / "logs")
    for uid in ("kept", "gone"):
        everything_of(logs, Uid(uid), 1)

    logs.remove_unknown({Uid("kept"): 1})

    assert names(tmp_path / "logs") == ["kept.1", "kept.1.cleanup", "kept.1.stderr", "kept.1.stdout"]


def test_of_many_attempts_a_start_keeps_the_newest_21(tmp_path: Path) -> None:
    logs = LogFiles(tmp_path / "logs")
    for attempt in range(1, 31):
        everything_of(logs, Uid("a"), attempt)

    logs.remove_unknown({Uid("a"): 30})

    assert {int(name.split(".")[1]) for name in names(tmp_path / "logs")} == set(range(10, 31))


def test_all_attempts_of_a_task_are_removed(tmp_path: Path) -> None:
    logs = LogFiles(tmp_path / "logs")
    for attempt in (1, 2, 3):
        everything_of(logs, Uid("a"), attempt)

    logs.remove(Uid("a"), 3)

    assert names(tmp_path / "logs") == []
