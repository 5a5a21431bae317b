"""A task's output, passed on to an output of ours as it comes: every byte as it is, or line by line in JSON."""

import asyncio
import sys

from farspawn._async_client import AsyncClient
from farspawn._async_process import AsyncProcess
from farspawn._cli.as_json import log_line, print_record
from farspawn._readers import AsyncLogReader
from farspawn._values import LogStream


async def pass_on(site: AsyncClient, process: AsyncProcess, stream: LogStream, *, as_json: bool) -> None:
    """Returns when the task has ended and all of this output was written.

    Raises:
        BrokenPipeError: Nobody reads ours.
        TaskError: The task has no exit to report.
    """
    output = process.logs(stream, follow=True)
    await _pass(output, stream, as_json=as_json)
    if output.complete:
        return
    # The site ended the stream early; what came since is in the log.
    await process.wait()
    rest = site.read_logs(process.task_id, stream, offset=output.offset, attempt=output.attempt)
    await _pass(rest, stream, as_json=as_json)


async def _pass(output: AsyncLogReader, stream: LogStream, *, as_json: bool) -> None:
    # In threads: a pager that does not read must not keep signals from going through.
    if as_json:
        async for line in output.lines():
            await asyncio.to_thread(print_record, log_line(stream, line))
        return
    ours = sys.stderr.buffer if stream is LogStream.STDERR else sys.stdout.buffer
    async for chunk in output:
        await asyncio.to_thread(ours.write, chunk.data)
        await asyncio.to_thread(ours.flush)
