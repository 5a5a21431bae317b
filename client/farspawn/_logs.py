"""A task's output as something to iterate over, that knows where it is."""

from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator
from contextlib import aclosing, closing
from dataclasses import replace
from types import TracebackType
from typing import Self

from farspawn._values import LogChunk
from farspawn._wire import moment_from_wire
from farspawn.v1 import launcher_pb2 as pb

# A line without an end must not fill the memory of whoever reads it.
LONGEST_LINE = 1 << 20


class LogCursor:
    """Where a reader of a task's output is. Not for two threads at once.

    Attributes:
        attempt: Which attempt's output it is; 0 until the site has said.
        earliest_offset: The offset of the first byte the site still had of it; None until it has said.
        start_offset: The offset of the first byte of this reading of it; None until the site has said.
        offset: The offset after the last byte read; None until the site has said where it begins.
        ended: Whether all that was asked for has been read.
        complete: Whether that is all the task will ever have written.
        lost_bytes: How many more it wrote that no file took; 0 until the end.
    """

    def __init__(self, request: pb.ReadLogsRequest) -> None:
        self._request = request
        self.attempt = request.attempt
        self.earliest_offset: int | None = None
        self.start_offset: int | None = None
        self.offset: int | None = None
        self.ended = False
        self.complete = False
        self.lost_bytes = 0

    def request(self) -> pb.ReadLogsRequest:
        """Asks for what has not been read yet."""
        if self.offset is None:
            return self._request
        return pb.ReadLogsRequest(
            task_id=self._request.task_id,
            stream=self._request.stream,
            offset=self.offset,
            follow=self._request.follow,
            attempt=self.attempt,  # by now the newest may be another one
            later_attempts=self._request.follow and not self._request.attempt,
        )

    def take(self, part: pb.ReadLogsResponse) -> LogChunk | None:
        """Moves on by one part of a stream; returns the bytes in it, if any."""
        match part.WhichOneof("part"):
            case "header":
                self.earliest_offset = part.header.earliest_offset
                if self.offset is None or part.header.attempt != self.attempt:
                    self.start_offset = self.offset = part.header.start_offset
                self.attempt = part.header.attempt
            case "chunk" if part.chunk.data:
                written_at = moment_from_wire(part.chunk.written_at if part.chunk.HasField("written_at") else None)
                chunk = LogChunk(part.chunk.offset, part.chunk.data, self.attempt, written_at)
                self.offset = chunk.end
                return chunk
            case "checkpoint":
                self.offset = part.checkpoint.offset
            case "end":
                self.offset = part.end.offset
                self.complete = part.end.complete
                self.lost_bytes = part.end.lost_bytes
                self.ended = True
            case _:
                pass  # a newer site tells something unknown to this client
        return None

    def skip_to(self, earliest: int) -> bool:
        """Leaves out what is gone; false if this is not about bytes that were still to be read."""
        if self.offset is None or earliest <= self.offset:
            return False
        self.offset = earliest
        return True


class LineCutter:
    """Cuts chunks into lines, not decoded: a task may write any bytes. A line longer than 1 MiB comes in pieces."""

    def __init__(self) -> None:
        self._held = bytearray()
        self._begun = LogChunk(0, b"")  # where and when what is held began

    def cut(self, chunk: LogChunk) -> Iterator[LogChunk]:
        """The lines, each with its newline, that are whole now."""
        if self._held and (chunk.attempt, chunk.offset) != (self._begun.attempt, self._begun.offset + len(self._held)):
            yield from self.rest()  # bytes are missing in between, or another attempt began: not one line
        if not self._held:
            self._begun = chunk
        self._held += chunk.data
        *whole, rest = bytes(self._held).split(b"\n")
        for line in whole:
            yield self._next(line + b"\n", chunk)
        while len(rest) >= LONGEST_LINE:
            yield self._next(rest[:LONGEST_LINE], chunk)
            rest = rest[LONGEST_LINE:]
        self._held = bytearray(rest)

    def rest(self) -> Iterator[LogChunk]:
        """What is left without a newline when nothing more comes."""
        if self._held:
            held, self._held = bytes(self._held), bytearray()
            yield self._next(held, self._begun)

    def _next(self, data: bytes, newest: LogChunk) -> LogChunk:
        """The next line; what comes after it, if anything, begins in the newest chunk."""
        line = replace(self._begun, data=data)
        self._begun = replace(newest, offset=line.end)
        return line


class _Place:
    def __init__(self, cursor: LogCursor) -> None:
        self._cursor = cursor

    @property
    def offset(self) -> int | None:
        """The offset after the last byte read; None until the site has said where it begins."""
        return self._cursor.offset

    @property
    def earliest_offset(self) -> int | None:
        """The offset of the first byte the site still had; None until it has said."""
        return self._cursor.earliest_offset

    @property
    def start_offset(self) -> int | None:
        """The offset of the first byte of this reading; None until the site has said."""
        return self._cursor.start_offset

    @property
    def attempt(self) -> int:
        """Which attempt's output it is; 0 until the site has said."""
        return self._cursor.attempt

    @property
    def complete(self) -> bool:
        """Whether the end was reached, and that is all the task will ever have written."""
        return self._cursor.complete

    @property
    def lost_bytes(self) -> int:
        """How many bytes more it wrote that no file took, a full disk for instance; 0 until the end was reached."""
        return self._cursor.lost_bytes


class LogReader(_Place, Iterator[LogChunk]):
    """A task's output, chunk by chunk; of `Client.read_logs`. Not for two threads at once.

    A stream that breaks off is taken up again where it was. A chunk whose
    offset is not the end of the one before, of the same attempt, tells of bytes
    that the site had to drop in between.
    """

    def __init__(self, cursor: LogCursor, chunks: Generator[LogChunk, None, None]) -> None:
        super().__init__(cursor)
        self._chunks = chunks

    def __next__(self) -> LogChunk:
        return next(self._chunks)

    def lines(self) -> Iterator[LogChunk]:
        """The rest, line by line, each with its newline; a line longer than 1 MiB comes in pieces."""
        cutter = LineCutter()
        with closing(self):
            for chunk in self:
                yield from cutter.cut(chunk)
            yield from cutter.rest()

    def close(self) -> None:
        """Stops reading."""
        self._chunks.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class AsyncLogReader(_Place, AsyncIterator[LogChunk]):
    """As `LogReader`; of `AsyncClient.read_logs`."""

    def __init__(self, cursor: LogCursor, chunks: AsyncGenerator[LogChunk, None]) -> None:
        super().__init__(cursor)
        self._chunks = chunks

    async def __anext__(self) -> LogChunk:
        return await anext(self._chunks)

    async def lines(self) -> AsyncGenerator[LogChunk, None]:
        """As `LogReader.lines`."""
        cutter = LineCutter()
        async with aclosing(self):
            async for chunk in self:
                for line in cutter.cut(chunk):
                    yield line
            for line in cutter.rest():
                yield line

    async def aclose(self) -> None:
        """Stops reading."""
        await self._chunks.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()
