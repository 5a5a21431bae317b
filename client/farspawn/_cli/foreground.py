"""One task in the foreground: its output to ours, our input and signals to it, until it has ended."""

import asyncio
import os
import signal
import sys
from contextlib import suppress

from farspawn._async_client import AsyncClient
from farspawn._cli.as_json import log_line, print_record
from farspawn._cli.failures import tell, warn
from farspawn._cli.forwarding import Forwarding
from farspawn._cli.options import Settings
from farspawn._cli.task_output import TaskOutput
from farspawn._cli.words import NOT_THE_TASK, exit_code_of, lost_text
from farspawn._errors import FarspawnError, InputClosedError, TaskError, TaskNotRunningError
from farspawn._logs import AsyncLogReader
from farspawn._process import AsyncProcess
from farspawn._values import LogStream, TaskState

_OUR_INPUT = 0
_AT_ONCE = 64 << 10


class Foreground:
    """Follows a task to its end."""

    def __init__(
        self, site: AsyncClient, process: AsyncProcess, settings: Settings, *, with_input: bool, raw: bool
    ) -> None:
        self._site = site
        self._process = process
        self._settings = settings
        self._with_input = with_input
        self._raw = raw

    async def run(self) -> int:
        """Returns the exit code that stands for the task's end.

        Raises:
            BrokenPipeError: Nobody reads our output; the task has been stopped.
        """
        with Forwarding(self._site, self._process.task_id) as forwarding:
            helpers = [asyncio.create_task(forwarding.deliver())]
            if self._with_input:
                helpers.append(asyncio.create_task(self._pass_on_input()))
            ending = asyncio.create_task(self._follow_to_the_end())
            leaving = asyncio.create_task(forwarding.left_alone.wait())
            try:
                await asyncio.wait({ending, leaving}, return_when=asyncio.FIRST_COMPLETED)
                if ending.done():
                    return ending.result()
                warn(f"task {self._process.task_id} is left alone: `farspawn poll` tells whether it runs")
                return 128 + signal.SIGINT
            finally:
                for task in (*helpers, ending, leaving):
                    task.cancel()

    async def _follow_to_the_end(self) -> int:
        try:
            await self._pass_on_output()
            await self._process.wait()
        except TaskError as error:
            tell(error, self._settings)
        except BrokenPipeError:
            # Here the program would have got SIGPIPE; there it would write for nobody, for ever.
            await self._process.terminate()
            with suppress(TaskError):
                await self._process.wait()
            raise
        status = self._process.status
        if self._settings.as_json:
            print_record({"status": status})
        return exit_code_of(status) if status is not None else NOT_THE_TASK

    async def _pass_on_output(self) -> None:
        if self._process.status is not None and self._process.status.state is TaskState.FAILED:
            return  # it never wrote anything
        streams = (LogStream.STDOUT, LogStream.STDERR)
        copies = [asyncio.create_task(self._pass_on(stream)) for stream in streams]
        try:
            await asyncio.gather(*copies)
        finally:
            for copy in copies:
                copy.cancel()

    async def _pass_on(self, stream: LogStream) -> None:
        """Passes on an output, attempt after attempt."""
        ours = TaskOutput(sys.stderr if stream is LogStream.STDERR else sys.stdout, raw=self._raw)
        output = self._site.read_logs(self._process.task_id, stream, follow=True)
        await self._write(output, stream, ours)
        ours.finish()
        if output.lost_bytes:
            warn(lost_text(stream, output.lost_bytes))

    async def _write(self, output: AsyncLogReader, stream: LogStream, ours: TaskOutput) -> None:
        # In threads: a pager that does not read must not keep signals from going through.
        if self._settings.as_json:
            async for line in output.lines():
                await asyncio.to_thread(print_record, log_line(stream, line))
            return
        async for chunk in output:
            await asyncio.to_thread(ours.write, chunk.data)

    async def _pass_on_input(self) -> None:
        try:
            while data := await _read_our_input():
                await self._process.write_input(data)
            await self._process.close_input()
        except (InputClosedError, TaskNotRunningError):
            pass  # nobody reads it any more; whether that is wrong, the task's exit code tells
        except FarspawnError as error:
            warn(f"task {self._process.task_id} gets no more input: {error}")


async def _read_our_input() -> bytes:
    """What comes next; empty: nothing more."""
    readable = asyncio.Event()
    loop = asyncio.get_running_loop()
    try:
        # Not in a thread, which would wait for the terminal when the task has ended long since.
        loop.add_reader(_OUR_INPUT, readable.set)
    except PermissionError:
        pass  # epoll takes no regular files, but these make nobody wait
    except OSError:
        return b""  # we were started without one
    else:
        try:
            await readable.wait()
        finally:
            loop.remove_reader(_OUR_INPUT)
    return os.read(_OUR_INPUT, _AT_ONCE)
