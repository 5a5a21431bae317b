"""Following an output: by offset, while it grows, through the attempts of its task. Nobody waits for a reader."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from farspawn_server.changes import Changes
from farspawn_server.logs import DEFAULT_LOG_BYTES, Chunk, LogFiles, Moments, Output, Reading
from farspawn_server.supervisor.charge import Charge
from farspawn_server.supervisor.follow import KEEP_ALIVE_SECONDS
from farspawn_server.task.errors import LogOffsetExpiredError, TaskNotFoundError
from farspawn_server.task.life import Task
from farspawn_server.task.outcome import Outputs, State

_FIRST_LOOK_SECONDS = 0.02
_LAST_LOOK_SECONDS = 0.25


@dataclass(frozen=True, slots=True)
class Start:
    """Where to begin reading: at an offset, or at the last so many lines; both None: at the beginning.

    But not before what came in the second `since`, counted from 1970.
    """

    offset: int | None = None
    tail_lines: int | None = None
    since: int | None = None


@dataclass(frozen=True, slots=True)
class Header:
    """Where the output of an attempt begins."""

    earliest: int
    start: int
    attempt: int


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A place to resume from."""

    offset: int


@dataclass(frozen=True, slots=True)
class End:
    """Why reading is over: `complete` means that there was and will never be more; `lost`: bytes that no file took."""

    offset: int
    complete: bool
    lost: int


LogPart = Header | Chunk | Checkpoint | End


class LogStream:
    """The reading of one output, for one reader."""

    def __init__(
        self,
        charge: Charge,
        changes: Changes,
        logs: LogFiles,
        output: Output,
        *,
        until_ended: bool,
        is_deleted: Callable[[], bool],
    ) -> None:
        """`until_ended`: wait for what is not written yet."""
        self._charge = charge
        self._changes = changes
        self._logs = logs
        self._output = output
        self._until_ended = until_ended
        self._is_deleted = is_deleted
        self._offset = 0
        self._over = False

    async def parts(self, start: Start, attempt: int, *, later_attempts: bool) -> AsyncIterator[LogPart]:
        """Yield the output of an attempt, and of those after it. See Supervisor.read_logs."""
        complete, lost = True, 0
        while True:
            async with aclosing(self._attempt(start, attempt)) as parts:
                async for part in parts:
                    yield part
            if self._is_deleted():  # and its output with it: nobody knows what more there was
                raise TaskNotFoundError(self._charge.task.task_id)
            state, outputs = _known_of(self._charge.task, attempt)
            complete = complete and self._over and self._is_all(state, outputs)
            lost += 0 if outputs is None else outputs.lost[self._output.place]
            if later_attempts and self._until_ended:
                while not self._charge.task.state.final and self._charge.task.attempt == attempt:
                    if not await self._changes.wait([self._charge.task.uid], KEEP_ALIVE_SECONDS):
                        yield Checkpoint(self._offset)
                if self._charge.task.attempt > attempt:
                    start, attempt = Start(), attempt + 1
                    continue
            yield End(self._offset, complete and not lost, lost)
            return

    async def _attempt(self, start: Start, attempt: int) -> AsyncGenerator[LogPart, None]:
        """Yield the output of one attempt, and note whether it is over and where its end is."""
        charge, task = self._charge, self._charge.task
        moments = Moments(
            self._logs.runs(task.uid, attempt)[: 1 if task.terms.cleanup is None else 2], self._output.place
        )
        keep = task.terms.resources.log_bytes or DEFAULT_LOG_BYTES
        reading = Reading(self._logs.path(task.uid, attempt, self._output), moments, keep)
        try:
            self._over = _is_over(charge.task, attempt)
            earliest, offset, size = await asyncio.to_thread(_begin, reading, start)
            yield Header(earliest=earliest, start=offset, attempt=attempt)
            self._offset = offset
            last = math.inf if self._until_ended else size  # one who writes faster than is read would never let us end
            patience, quiet_since = _FIRST_LOOK_SECONDS, time.monotonic()
            while offset < last:
                # Asked before reading: what was written before the end is read after it was seen.
                self._over = _is_over(charge.task, attempt)
                for chunk in await _next(reading, offset, at_rest=patience >= _LAST_LOOK_SECONDS):
                    if offset + len(chunk.data) > last:
                        chunk = Chunk(offset, chunk.data[: size - offset], chunk.second)
                    yield chunk
                    self._offset = offset = offset + len(chunk.data)
                    patience, quiet_since = 0.0, time.monotonic()
                    if offset >= last:
                        break
                if not patience:
                    patience = _FIRST_LOOK_SECONDS
                elif self._over or not self._until_ended or charge.task.state.final:
                    return
                else:
                    await self._changes.wait([task.uid], patience)
                    patience = min(2 * patience, _LAST_LOOK_SECONDS)
                    if time.monotonic() - quiet_since > KEEP_ALIVE_SECONDS:
                        yield Checkpoint(offset)
                        quiet_since = time.monotonic()
        finally:
            # Not waited for: whoever reads no more may be about to be cancelled.
            asyncio.get_running_loop().run_in_executor(None, reading.close)

    def _is_all(self, state: State, outputs: Outputs | None) -> bool:
        """Whether what was read is all that an attempt wrote that is over."""
        if state is State.LOST:
            return False
        if outputs is None:  # it never wrote, or it wrote to its files by itself, as up to version 0.1
            return True
        return not outputs.cut_off and self._offset == outputs.written[self._output.place]


def _begin(reading: Reading, start: Start) -> tuple[int, int, int]:
    """Return the first offset that is left, the one to begin at, and the size."""
    tail = None if start.tail_lines is None else reading.start_of_tail(start.tail_lines)
    earliest, size = reading.bounds()  # after the tail was looked for: it lies within
    offset = max(tail or 0, earliest) if start.offset is None else start.offset
    if not earliest <= offset <= size:
        raise LogOffsetExpiredError(offset, earliest=earliest, end=size)
    if start.since is not None:
        since = reading.since(start.since)
        offset = max(offset, min(size if since is None else since, size))
    return earliest, offset, size


async def _next(reading: Reading, offset: int, *, at_rest: bool) -> Sequence[Chunk]:
    if not at_rest:
        try:
            return reading.at_once(offset)
        except BlockingIOError:
            pass
    return await asyncio.to_thread(reading.patiently, offset)


def _is_over(task: Task, attempt: int) -> bool:
    """Whether nobody is left who could write to the output of an attempt."""
    if attempt == task.attempt and task.state.final:
        return task.outcome is not None and not task.outcome.survivors
    for each in task.earlier:
        if each.number == attempt:
            return not each.outcome.survivors
    return attempt < task.attempt


def _known_of(task: Task, attempt: int) -> tuple[State, Outputs | None]:
    """Return where an attempt is, and what is known of its outputs."""
    for each in task.earlier:
        if each.number == attempt:
            return each.state, each.outputs
    return task.state, task.outputs if attempt == task.attempt else None
