"""A writer of a task's input that says itself which message goes when, and hears each answer."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from types import TracebackType
from typing import Self

from farspawn.v1 import launcher_pb2 as pb
from farspawn.v1.launcher_pb2_grpc import TaskLauncherStub
from support.waiting import PATIENCE

CHUNK = 64 * 1024


class Writer:
    """One WriteInput call. Leaving it half-closes the call, and cancels it if it is still under way."""

    def __init__(self, stub: TaskLauncherStub, task_id: str, timeout: float = PATIENCE) -> None:
        """Open the call; nothing is sent yet."""
        self._task_id = task_id
        self._messages: queue.SimpleQueue[pb.WriteInputRequest | None] = queue.SimpleQueue()
        self._answers = stub.WriteInput(iter(self._messages.get, None), timeout=timeout, wait_for_ready=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._messages.put(None)
        self._answers.cancel()

    def send(self, offset: int, data: bytes, *, end: bool = False) -> None:
        """Send a message; its answer comes when the task's pipe has taken it."""
        request = pb.WriteInputRequest(offset=offset, data=data, end_of_input=end)
        request.task_id, self._task_id = self._task_id, ""
        self._messages.put(request)

    def answer(self) -> int:
        """Wait for the next answer: how much the pipe has taken in all.

        Raises:
            grpc.RpcError: the call was refused.
        """
        return next(self._answers).acknowledged_offset

    def write(self, offset: int, data: bytes, *, end: bool = False) -> int:
        """Send a message and return its answer."""
        self.send(offset, data, end=end)
        return self.answer()

    def half_close(self) -> list[int]:
        """Say that nothing more comes, and return the answers that are left."""
        self._messages.put(None)
        return [each.acknowledged_offset for each in self._answers]


def pieces(data: bytes, start: int = 0) -> Iterator[tuple[int, bytes]]:
    """Yield (offset, bytes) of data from an offset on, each as large as a message may be."""
    for offset in range(start, len(data), CHUNK):
        yield offset, data[offset : offset + CHUNK]


def write_all(stub: TaskLauncherStub, task_id: str, data: bytes, *, end: bool = True) -> int:
    """Write data from where the task's input is now, in one call, and return how much is taken in the end."""
    with Writer(stub, task_id) as writer:
        taken = writer.write(0, b"")
        for offset, piece in pieces(data, taken):
            taken = writer.write(offset, piece)
        return writer.write(len(data), b"", end=True) if end else taken
