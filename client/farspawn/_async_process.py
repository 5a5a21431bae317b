"""A task as something that feels like `asyncio.subprocess.Process`."""

from farspawn import _values as values
from farspawn import _verbs as verbs
from farspawn._aio import AioLink
from farspawn._follow import read_logs
from farspawn._handle import Handle
from farspawn._logs import LogCursor
from farspawn._readers import AsyncLogReader
from farspawn._spans import Timeout, span_of
from farspawn.v1 import launcher_pb2 as pb


class AsyncProcess(Handle):
    """One task on a site; every method does what its namesake of `Process` does, and raises the same."""

    def __init__(self, link: AioLink, task_id: str, launched: verbs.Launched | None = None) -> None:
        super().__init__(link, task_id, launched)
        self._link = link

    async def poll(self) -> int | None:
        """As `Process.poll`."""
        return await self._poll()

    async def wait(self, timeout: Timeout = None) -> int:  # noqa: ASYNC109 (Popen's word, and no cancellation)
        """As `Process.wait`."""
        return await self._wait(span_of(timeout))

    async def stop(self, plan: values.StopPlan | None = None) -> values.TaskStatus:
        """As `Process.stop`."""
        return await self._stop(plan)

    async def terminate(self) -> None:
        """As `Process.terminate`."""
        await self.stop()

    async def kill(self) -> None:
        """As `Process.kill`."""
        await self.stop(values.StopPlan.at_once())

    async def send_signal(self, number: int) -> None:
        """As `Process.send_signal`."""
        await self._send_signal(number)

    def logs(self, stream: values.LogStream = values.LogStream.STDOUT, *, follow: bool = False) -> AsyncLogReader:
        """As `Process.logs`."""
        request = verbs.logs_request(self.task_id, stream, offset=None, tail_lines=None, follow=follow, attempt=0)
        return log_reader(self._link, request)


def log_reader(link: AioLink, request: pb.ReadLogsRequest) -> AsyncLogReader:
    """A reader of what is asked for."""
    cursor = LogCursor(request)
    return AsyncLogReader(cursor, read_logs(link, cursor))
