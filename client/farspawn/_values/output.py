"""Pieces of what a task wrote."""

from dataclasses import dataclass
from enum import unique

from farspawn._values.wire_enum import WireEnum


@unique
class LogStream(WireEnum):
    """The two outputs of a task."""

    UNSPECIFIED = 0
    """Read as STDOUT."""
    STDOUT = 1
    """Standard output."""
    STDERR = 2
    """Standard error."""


@dataclass(frozen=True, slots=True)
class LogChunk:
    """Bytes as the task wrote them: any bytes, cut anywhere.

    Attributes:
        offset: The place of the first byte, counted from 0 over the whole output.
        data: The bytes; never empty.
    """

    offset: int
    data: bytes

    @property
    def end(self) -> int:
        """The offset after the last byte."""
        return self.offset + len(self.data)
