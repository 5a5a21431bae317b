"""A task's output as something to iterate over, that knows where it is."""

from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator
from contextlib import aclosing, closing
from types import TracebackType
from typing import Self

from farspawn._lines import LineCutter
from farspawn._logs import LogCursor
from farspawn._values import LogChunk


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


class LogReader(_Place, Iterator[LogChunk]):
    """A task's output, chunk by chunk; of `Client.read_logs`. Not for two threads at once.

    A stream that breaks off is taken up again where it was. A chunk whose
    offset is not the end of the one before tells of bytes that the site had to
    drop in between.
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
