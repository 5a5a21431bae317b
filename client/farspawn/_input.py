"""A task's standard input as something to write to, that knows where it is.

A write is done when the task's pipe has taken all of it: a task that does not
read makes its writer wait. A restart of the agent is outlived: the site is asked
how much it has taken, and what is missing is sent again.
"""

from contextlib import aclosing
from types import TracebackType
from typing import Self

from farspawn import _verbs as verbs
from farspawn._blocking import BlockingLink, run
from farspawn._errors import (
    InputClosedError,
    InputOffsetSkippedError,
    RefusedError,
    SiteUnreachableError,
    TaskNotRunningError,
)
from farspawn._follow import until
from farspawn._link import PASSING, Link, Outage
from farspawn._values import TaskState

_TO_BE_STARTED = (TaskState.PENDING, TaskState.STARTING)


class _Input:
    def __init__(self, link: Link, task_id: str) -> None:
        self._link = link
        self._task_id = task_id
        self._offset: int | None = None

    @property
    def offset(self) -> int | None:
        """How many bytes the task's pipe has taken in all, also from others; None: not asked yet."""
        return self._offset

    async def _write(self, data: bytes) -> int:
        outage = Outage(self._link)
        first: int | None = None  # the place of data's first byte
        while data:
            try:
                if self._offset is None:
                    self._offset = await self._ask()
                    outage.over()
                if first is None:
                    first = self._offset
                elif self._offset < first:
                    raise _another_input(self._task_id, self._offset)
                rest = data[self._offset - first :][: verbs.INPUT_PIECE]
                if not rest:
                    break
                self._offset = await self._send(rest, self._offset)
            except PASSING as error:
                self._offset = None  # how much has arrived is not known
                await outage.pause(error)
            except RefusedError:
                self._offset = None  # the next write may be to another attempt
                raise
        return len(data)

    async def _close(self) -> None:
        outage = Outage(self._link)
        while True:
            try:
                if self._offset is None:
                    self._offset = await self._ask()
                    outage.over()
                # What has arrived need not be asked: to repeat the end is no error.
                self._offset = await self._exchange(self._offset, end=True)
            except PASSING as error:
                await outage.pause(error)
            except (InputClosedError, TaskNotRunningError):
                return  # nobody reads it, so it has ended
            else:
                return

    async def _ask(self) -> int:
        while True:
            try:
                return await self._exchange(0)
            except TaskNotRunningError:
                # A program on a slow disk is still being started, or soon again.
                status = await until(self._link, self._task_id, lambda task: task.state not in _TO_BE_STARTED)
                if status.ended:
                    raise

    async def _send(self, data: bytes, offset: int) -> int:
        taken = await self._exchange(offset, data)
        if taken < offset + len(data):
            raise SiteUnreachableError("the site ended the stream")
        return taken

    async def _exchange(self, offset: int, data: bytes = b"", *, end: bool = False) -> int:
        call = verbs.write_input(self._task_id, offset, data, end=end)
        taken: int | None = None
        async with aclosing(self._link.stream(call)) as answers:
            async for answer in answers:
                taken = answer
        if taken is None:
            raise SiteUnreachableError("the site ended the stream")
        return taken


def _another_input(task_id: str, acknowledged: int) -> InputOffsetSkippedError:
    return InputOffsetSkippedError(
        f"task {task_id} was started again, and its input begins anew",
        code="OUT_OF_RANGE",
        reason="INPUT_OFFSET_SKIPPED",
        metadata={"acknowledged": str(acknowledged)},
    )


class InputWriter(_Input):
    """A task's standard input; of `Client.write_input`. Not for two threads at once.

    As a context manager it ends the input on leaving.
    """

    def __init__(self, link: BlockingLink, task_id: str) -> None:
        super().__init__(link, task_id)

    def write(self, data: bytes) -> int:
        """Writes all of it, and returns when the task's pipe has taken it.

        Returns:
            How many bytes that are.

        Raises:
            TaskNotFoundError: No such task.
            TaskNotRunningError: It has ended.
            InputClosedError: It was launched without an input, the input was ended, the task closed it, or the
                keeper that held it died.
            InputOffsetSkippedError: The task was started again meanwhile; the next write goes to its new input.
        """
        return run(self._write(data))

    def close(self) -> None:
        """Ends the input: the task reads the end after what was written. To end it twice is no error."""
        run(self._close())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class AsyncInputWriter(_Input):
    """As `InputWriter`; of `AsyncClient.write_input`. Not for two tasks at once."""

    async def write(self, data: bytes) -> int:
        """As `InputWriter.write`."""
        return await self._write(data)

    async def aclose(self) -> None:
        """As `InputWriter.close`."""
        await self._close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()
