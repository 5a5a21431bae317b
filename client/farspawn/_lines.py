"""Output cut into lines; not decoded, for a task may write any bytes."""

from collections.abc import Iterator

from farspawn._values import LogChunk

# A line without an end must not fill the memory of whoever reads it.
LONGEST_LINE = 1 << 20


class LineCutter:
    """Cuts chunks into lines. A line longer than 1 MiB comes in pieces."""

    def __init__(self) -> None:
        self._held = bytearray()
        self._offset = 0

    def cut(self, chunk: LogChunk) -> Iterator[LogChunk]:
        """The lines, each with its newline, that are whole now."""
        if self._held and chunk.offset != self._offset + len(self._held):
            yield from self.rest()  # bytes are missing in between: not one line
        if not self._held:
            self._offset = chunk.offset
        self._held += chunk.data
        *whole, rest = bytes(self._held).split(b"\n")
        for line in whole:
            yield self._next(line + b"\n")
        while len(rest) >= LONGEST_LINE:
            yield self._next(rest[:LONGEST_LINE])
            rest = rest[LONGEST_LINE:]
        self._held = bytearray(rest)

    def rest(self) -> Iterator[LogChunk]:
        """What is left without a newline when nothing more comes."""
        if self._held:
            held, self._held = bytes(self._held), bytearray()
            yield self._next(held)

    def _next(self, data: bytes) -> LogChunk:
        line = LogChunk(self._offset, data)
        self._offset = line.end
        return line
