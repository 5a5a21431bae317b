"""Bytes that are written once for all."""

from __future__ import annotations

from collections.abc import Callable

from farspawn_server.rpc.written import Written


class Pen:
    def __init__(self) -> None:
        self.used = 0

    def of(self, text: bytes) -> Callable[[], bytes]:
        def write() -> bytes:
            self.used += 1
            return text

        return write


def test_a_revision_is_written_once_and_the_next_one_anew() -> None:
    pen, written = Pen(), Written(100)

    assert [written.get("a", revision, pen.of(b"%d" % revision)) for revision in (1, 1, 2, 2, 2)] == [
        *(b"1", b"1"),
        *(b"2", b"2", b"2"),
    ]
    assert pen.used == 2


def test_no_more_is_kept_than_there_is_room_for_and_the_newest_stays() -> None:
    pen, written = Pen(), Written(100)
    for number in range(50):
        written.get(number, 1, pen.of(b"x" * 10))
        written.get("changing", number + 1, pen.of(b"x" * 10))
    assert written._bytes <= 100
    before = pen.used

    assert written.get("changing", 50, pen.of(b"new")) == b"x" * 10
    assert written.get(0, 1, pen.of(b"again")) == b"again"
    assert written.get("huge", 1, pen.of(b"x" * 1000)) == b"x" * 1000
    assert (pen.used, written._bytes) == (before + 2, 0)
