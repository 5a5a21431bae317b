"""When the bytes of an output came: the records of an attempt's run files, core/shim/protocol.h `struct moment`.

A record says: bytes from these offsets on came in this second, until the next one. A shim writes it before the first of
these bytes, so whoever looks after reading them finds it. Of very many the oldest, but for some first ones, were let
go, and read as zeros: nobody knows when the bytes of their seconds came.
"""

from __future__ import annotations

import bisect
import operator
import os
import struct
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

from farspawn_server.logs.opening import open_output

_RECORD = struct.Struct("<qQQ")
_READ_AT_ONCE = 128  # records
_offset_of = operator.itemgetter(0)


class Moments:
    """Of one output, read on from an offset. Not for two threads at once."""

    def __init__(self, runs: Sequence[Path], place: int) -> None:
        """Describe what nobody has looked at.

        Args:
            runs: the run files, in the order in which their runs wrote to the output.
            place: of the output within a record.
        """
        self._runs = runs
        self._place = place
        self._known: list[tuple[int, int]] = []  # offset and second of each record, those that are done with left out
        self._nth = 0
        self._next: int | None = None  # record of the nth file; None: nobody has looked for the first one that counts
        self._descriptor: int | None = None

    def within(self, begin: int, end: int, *, wait: bool) -> Sequence[tuple[int, int]]:
        """Return from which offset on bytes came in which second; the first may be before `begin`.

        Args:
            begin: never less than in an earlier call, but for one that raised.
            end: the offset after the last byte that is asked about.
            wait: for the disk, if need be.

        Raises:
            BlockingIOError: it is not known without waiting.
        """
        known = self._known
        while (not known or known[-1][0] < end) and (more := self._read_on(begin, wait=wait)):
            known += more
        if (done := bisect.bisect_right(known, begin, key=_offset_of) - 1) > 0:
            del known[:done]
        return known[: bisect.bisect_left(known, end, key=_offset_of)]

    def since(self, second: int) -> int | None:
        """Return the offset of the first byte that came in this second or later; None: there is none yet.

        Of an output whose times nobody recorded that is the first one.
        """
        recorded = False
        for path in self._runs:
            with _opened(path) as descriptor:
                records = range(_count(descriptor))
                found = bisect.bisect_left(records, second, key=lambda at: _record(descriptor, at)[0])
                if found < len(records):
                    return _record(descriptor, found)[1 + self._place]
                recorded = recorded or bool(records)
        return None if recorded else 0

    def close(self) -> None:
        """Hold no descriptor until there is something to be read again."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _read_on(self, offset: int, *, wait: bool) -> list[tuple[int, int]]:
        """Return the next records, from the one on that `offset` belongs to; none: there are no more yet."""
        while True:
            if self._descriptor is None:
                if not wait:
                    raise BlockingIOError
                if (descriptor := open_output(self._runs[self._nth])) is None:
                    return []
                self._descriptor = descriptor
            if self._next is None:
                if not wait:
                    raise BlockingIOError
                self._next = self._first(self._descriptor, offset)
            data = _read(self._descriptor, self._next, wait=wait)
            if data:
                self._next += len(data) // _RECORD.size
                if found := self._in_order(data):
                    return found
                if not wait:
                    raise BlockingIOError
                self._next = max(self._next, self._first(self._descriptor, offset))  # over what was let go
                continue
            if self._nth + 1 == len(self._runs):
                return []
            if not wait:
                raise BlockingIOError
            if (descriptor := open_output(self._runs[self._nth + 1])) is None:
                return []
            os.close(self._descriptor)
            self._descriptor, self._nth, self._next = descriptor, self._nth + 1, None

    def _in_order(self, data: bytes) -> list[tuple[int, int]]:
        """Return offset and second of each record, but for those that were let go, or that no shim has written."""
        found, last = [], self._known[-1][0] if self._known else 0
        for record in _RECORD.iter_unpack(data):
            second, offset = record[0], record[1 + self._place]
            if second and offset >= last:
                found.append((offset, second))
                last = offset
        return found

    def _first(self, descriptor: int, offset: int) -> int:
        """Return the number of the last record before an offset, or of the first one."""
        records = range(_count(descriptor))
        key = 1 + self._place
        return max(0, bisect.bisect_right(records, offset, key=lambda at: _record(descriptor, at)[key]) - 1)


@contextmanager
def _opened(path: Path) -> Generator[int | None]:
    descriptor = open_output(path)
    try:
        yield descriptor
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _count(descriptor: int | None) -> int:
    return 0 if descriptor is None else max(0, os.fstat(descriptor).st_size // _RECORD.size - 1)


def _record(descriptor: int | None, number: int) -> tuple[int, int, int]:
    assert descriptor is not None
    second, *offsets = _RECORD.unpack(os.pread(descriptor, _RECORD.size, _place_of(number)))
    return (second, *offsets)


def _read(descriptor: int, number: int, *, wait: bool) -> bytes:
    """Return whole records from a number on."""
    if wait:
        data = os.pread(descriptor, _READ_AT_ONCE * _RECORD.size, _place_of(number))
    else:
        buffer = bytearray(_READ_AT_ONCE * _RECORD.size)
        data = bytes(buffer[: os.preadv(descriptor, [buffer], _place_of(number), os.RWF_NOWAIT)])
    return data[: len(data) // _RECORD.size * _RECORD.size]


def _place_of(number: int) -> int:
    return (1 + number) * _RECORD.size  # behind the head, which is as large as a record
