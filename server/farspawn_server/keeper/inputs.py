"""The standard inputs of tasks: pipes whose writing ends the keeper holds, so that a server may come and go.

A write is answered when the pipe has taken all of it. One that has to wait waits here, at most one a task, and costs
nobody else anything: a newer one takes its place.
"""

from __future__ import annotations

import os
import select
from collections.abc import Callable
from dataclasses import dataclass

from farspawn_server.keeper.messages import InputTaken, Write


@dataclass(slots=True)
class _Pipe:
    descriptor: int
    offset: int  # how much the pipe has taken since the attempt began
    waiting: Write | None = None
    rest: bytes = b""


class Inputs:
    """All inputs that are open. Belongs to the keeper's loop."""

    def __init__(self, taken: Callable[[InputTaken], None]) -> None:
        """`taken` is told the answer to each write."""
        self._taken = taken
        self._pipes: dict[str, _Pipe] = {}
        self._uids: dict[int, str] = {}
        self._lengths: dict[str, int] = {}  # of the inputs that were ended while their tasks go on
        self._epoll = select.epoll()

    def fileno(self) -> int:
        """Return a descriptor that is readable when `collect` has something to do."""
        return self._epoll.fileno()

    def open(self, uid: str, descriptor: int, offset: int = 0) -> None:
        """Take the writing end of a task's input."""
        os.set_blocking(descriptor, False)
        self._pipes[uid] = _Pipe(descriptor, offset)
        self._uids[descriptor] = uid

    def opened(self, uid: str) -> tuple[int, int] | None:
        """Return descriptor and offset of an input that is open."""
        pipe = self._pipes.get(uid)
        return None if pipe is None else (pipe.descriptor, pipe.offset)

    def length(self, uid: str) -> int | None:
        """Return how long an input was that has ended, while its task goes on."""
        return self._lengths.get(uid)

    def note_length(self, uid: str, length: int) -> None:
        """Take in what `length` said in the last image."""
        self._lengths[uid] = length

    def write(self, order: Write) -> None:
        """Write what is new of it; the answer comes when the pipe has taken it."""
        pipe = self._pipes.get(order.uid)
        if pipe is None:
            length = self._lengths.get(order.uid)
            # The end again, whose answer was lost: it was taken.
            repeated = order.end and length == order.offset + len(order.bytes())
            self._taken(InputTaken(order.sequence, length or 0, closed=not repeated))
            return
        if order.offset > pipe.offset:
            self._taken(InputTaken(order.sequence, pipe.offset))
            return
        self._give_up(pipe)
        pipe.waiting, pipe.rest = order, order.bytes()[pipe.offset - order.offset :]
        self._push(pipe)

    def collect(self) -> None:
        """Go on with those pipes that have room again, or no reader."""
        for descriptor, _ in self._epoll.poll(0) if self._uids else ():
            if (uid := self._uids.get(descriptor)) is not None:
                self._push(self._pipes[uid])

    def give_up(self) -> None:
        """Drop what waits: who asked for it is gone, and whoever comes asks again from the offset that was reached."""
        for pipe in self._pipes.values():
            self._give_up(pipe)

    def close(self, uid: str) -> None:
        """End an input: the task reads the end after what was written."""
        self._lengths.pop(uid, None)
        pipe = self._pipes.pop(uid, None)
        if pipe is None:
            return
        self._give_up(pipe, closed=True)
        del self._uids[pipe.descriptor]
        os.close(pipe.descriptor)

    def _push(self, pipe: _Pipe) -> None:
        try:
            while pipe.rest:
                written = os.write(pipe.descriptor, pipe.rest)
                pipe.offset += written
                pipe.rest = pipe.rest[written:]
        except BlockingIOError:
            self._watch(pipe, watch=True)
            return
        except BrokenPipeError:
            self.close(self._uids[pipe.descriptor])
            return
        self._watch(pipe, watch=False)
        order, pipe.waiting = pipe.waiting, None
        if order is not None:
            self._taken(InputTaken(order.sequence, pipe.offset))
            if order.end:
                self.close(order.uid)
                self._lengths[order.uid] = pipe.offset

    def _give_up(self, pipe: _Pipe, *, closed: bool = False) -> None:
        self._watch(pipe, watch=False)
        order, pipe.waiting, pipe.rest = pipe.waiting, None, b""
        if order is not None:
            self._taken(InputTaken(order.sequence, pipe.offset, closed=closed))

    def _watch(self, pipe: _Pipe, *, watch: bool) -> None:
        try:
            if watch:
                self._epoll.register(pipe.descriptor, select.EPOLLOUT)
            else:
                self._epoll.unregister(pipe.descriptor)
        except (FileExistsError, FileNotFoundError):
            pass  # it is watched, or not, already
