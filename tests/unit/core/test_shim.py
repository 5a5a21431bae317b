"""Keeper and shim understand each other across versions, and garbage is one named error."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farspawn_core import Phase, shim
from farspawn_core.shim import Answer, GarbledError, Hello, Member, Members, Order, Report, Stage, Taken

RECORDED = Path(__file__).parents[2] / "data" / "shim-v1.hex"
HEAD = 8


def recorded() -> list[bytes]:
    return [bytes.fromhex(line) for line in RECORDED.read_text().splitlines()]


def order(**more: object) -> Order:
    fields: dict[str, object] = {
        "run": "task/1", "token": b"t" * 32, "run_file": "logs/task.1",
        "prefix": "logs/task.1", "argv": ["a", ""], "env": {"A": "1"},
        "cwd": "/", "programs": ["/bin/a", "/a"],
    }  # fmt: skip
    return Order(**{**fields, **more})  # type: ignore[arg-type]


def test_a_conversation_of_the_first_version_is_understood() -> None:
    running, members, taken, hello, answer, ended, failed = [shim.decode(message) for message in recorded()]

    assert isinstance(running, Report)
    assert (running.stage, running.alive, running.struck, running.pid) == (Stage.RUNNING, True, False, 8365)
    assert members == Members(7, 1, (Member(8365, 0, "S", "cat"),))
    assert taken == Taken(8, closed=False, offset=5)
    assert isinstance(hello, Hello)
    assert (hello.token, hello.run, hello.report.written) == (b"T" * 32, "task/1", (5, 0))
    assert answer == Answer(9, 1)
    assert isinstance(ended, Report)
    assert (ended.stage, ended.alive, ended.status, ended.max_resident_bytes) == (Stage.ENDED, False, 15, 1286144)
    assert isinstance(failed, Report)
    assert (failed.stage, failed.error, failed.step, failed.path) == (Stage.FAILED, 2, Phase.PROGRAM, "no-such-program")


@pytest.mark.parametrize("message", recorded()[:6])
def test_what_a_newer_shim_adds_at_the_end_is_passed_over(message: bytes) -> None:
    news = b"\x01\x02\x03\x04" * 5
    grown = message + news
    if message[0] == 2:
        grown = message[:2] + struct.pack("<H", len(message) - HEAD + len(news)) + message[4:] + news

    assert shim.decode(grown) == shim.decode(message)


def test_the_file_behind_a_grown_report_is_found() -> None:
    failed = recorded()[-1]
    size = len(failed) - HEAD - len("no-such-program")
    grown = failed[:2] + struct.pack("<H", size + 8) + failed[4 : HEAD + size] + bytes(8) + failed[HEAD + size :]

    assert shim.decode(grown) == shim.decode(failed)


def test_what_an_older_shim_does_not_say_is_zero() -> None:
    assert shim.decode(recorded()[0][: HEAD + 12]) == Report(
        Stage.RUNNING, 3, 8365, 0, 0, Phase.SPAWN, 0, 0, 0, 0, 0, 0, (0, 0), (0, 0), 0
    )


def test_a_kind_of_a_newer_shim_is_nothing() -> None:
    assert shim.decode(struct.pack("<BBHI", 60, 9, 0, 0) + b"news") is None


@given(st.sampled_from(range(256)), st.binary(max_size=300))
def test_garbage_is_one_error_or_a_message(kind: int, garbage: bytes) -> None:
    try:
        message = shim.decode(bytes([kind % 7]) + garbage)
    except GarbledError:
        return
    assert message is None or isinstance(message, Hello | Report | Answer | Members | Taken)


@given(st.sampled_from(recorded()), st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=8))
def test_a_message_with_a_few_wrong_bytes_is_one_error_or_a_message(
    message: bytes, changes: Sequence[tuple[int, int]]
) -> None:
    changed = bytearray(message)
    for place, byte in changes:
        changed[place % len(changed)] = byte

    try:
        shim.decode(bytes(changed))
    except GarbledError:
        return


def test_an_order_holds_all_in_the_order_of_the_protocol() -> None:
    full = order(
        directories=["/d"], sha256="ab", open_input=True, merge_output=True, cgroup=True, user=(5, 6, [7, 8]),
        log_bytes=9, mask=0o77, niceness=-3, oom_score_adj=-500, address_space_bytes=10, cpu_seconds=11, processes=12,
        files=(13, 14),
    )  # fmt: skip

    encoded = shim.encode(full)

    version, size, flags, *counts = struct.unpack_from("<8I", encoded)
    assert (version, size, flags, counts) == (1, len(encoded), 15, [2, 1, 2, 2, 1])
    assert struct.unpack_from("<3I2iI6Q", encoded, 32) == (5, 6, 0o77, -3, -500, 232, 9, 10, 11, 12, 13, 14)
    assert struct.unpack_from("<32s96s", encoded, 104) == (b"t" * 32, b"task/1".ljust(96, b"\0"))
    assert struct.unpack_from("<2I", encoded, 232) == (7, 8)
    assert encoded[240:].split(b"\0") == [
        b"logs/task.1", b"logs/task.1", b"/", b"/d", b"/bin/a", b"/a", b"a", b"", b"A=1", b"ab", b"",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "wrong",
    [
        {"argv": ["a\0"]},
        {"env": {"": "1"}},
        {"env": {"A=B": "1"}},
        {"cwd": "/\0"},
        {"run": "x" * 96},
        {"cpu_seconds": -1},
        {"log_bytes": 1 << 64},
        {"user": (-1, 0, [])},
    ],
    ids=str,
)
def test_what_no_process_can_be_given_is_a_value_error(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r".+"):
        shim.encode(order(**wrong))


def test_a_write_that_is_too_long_is_cut_before_its_end() -> None:
    whole = shim.write(1, 5, b"x" * shim.WRITE_BYTES, end=True)
    cut = shim.write(1, 5, b"x" * (shim.WRITE_BYTES + 1), end=True)

    assert struct.unpack_from("<QII", whole, HEAD) == (5, 1, shim.WRITE_BYTES)
    assert struct.unpack_from("<QII", cut, HEAD) == (5, 0, shim.WRITE_BYTES)
    assert len(cut) == len(whole)
