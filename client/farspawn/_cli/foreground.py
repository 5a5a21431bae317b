"""One task in the foreground: its output to ours, our signals to it, until it has ended."""

import asyncio
import signal
from contextlib import suppress

from farspawn._async_client import AsyncClient
from farspawn._async_process import AsyncProcess
from farspawn._cli.as_json import print_record
from farspawn._cli.exit_codes import NOT_THE_TASK, exit_code_of
from farspawn._cli.failures import tell, warn
from farspawn._cli.forwarding import Forwarding
from farspawn._cli.options import Settings
from farspawn._cli.pass_on import pass_on
from farspawn._errors import TaskError
from farspawn._values import LogStream, TaskState


class Foreground:
    """Follows a task to its end."""

    def __init__(self, site: AsyncClient, process: AsyncProcess, settings: Settings) -> None:
        self._site = site
        self._process = process
        self._settings = settings

    async def run(self) -> int:
        """Returns the exit code that stands for the task's end.

        Raises:
            BrokenPipeError: Nobody reads our output; the task has been stopped.
        """
        with Forwarding(self._site, self._process.task_id) as forwarding:
            delivering = asyncio.create_task(forwarding.deliver())
            ending = asyncio.create_task(self._follow_to_the_end())
            leaving = asyncio.create_task(forwarding.left_alone.wait())
            try:
                await asyncio.wait({ending, leaving}, return_when=asyncio.FIRST_COMPLETED)
                if ending.done():
                    return ending.result()
                warn(f"task {self._process.task_id} is left alone: `farspawn poll` tells whether it runs")
                return 128 + signal.SIGINT
            finally:
                for task in (delivering, ending, leaving):
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
        copies = [
            asyncio.create_task(pass_on(self._site, self._process, stream, as_json=self._settings.as_json))
            for stream in (LogStream.STDOUT, LogStream.STDERR)
        ]
        try:
            await asyncio.gather(*copies)
        finally:
            for copy in copies:
                copy.cancel()
