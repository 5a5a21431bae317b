"""A task as something that feels like `subprocess.Popen`, or like the `Process` of asyncio."""

from farspawn import _values as values
from farspawn import _verbs as verbs
from farspawn._aio import AioLink
from farspawn._arguments import Timeout, span_of
from farspawn._blocking import BlockingLink, iterate, run
from farspawn._follow import read_logs
from farspawn._handle import Handle
from farspawn._input import AsyncInputWriter, InputWriter
from farspawn._logs import AsyncLogReader, LogCursor, LogReader
from farspawn.v1 import launcher_pb2 as pb


class Process(Handle):
    """One task on a site. Dropping it does nothing to the task.

    Two things differ from `subprocess.Popen`. A task that could not be started,
    or whose end cannot be known, has no return code: `poll` and `wait` raise
    LaunchFailedError or TaskLostError. And a signal or a stop reaches everything
    the task has started, not only its first process, unless it says otherwise.
    """

    def __init__(self, link: BlockingLink, task_id: str, launched: verbs.Launched | None = None) -> None:
        super().__init__(link, task_id, launched)
        self._link = link
        self._input = InputWriter(link, task_id)

    def poll(self) -> int | None:
        """Asks the site how the task is.

        Returns:
            None while it lives, else as `returncode`.

        Raises:
            LaunchFailedError: The process could not be started.
            TaskLostError: How it ended cannot be known.
            TaskNotFoundError: There is no such task any more.
        """
        return run(self._poll())

    def wait(self, timeout: Timeout = None) -> int:
        """Waits for the end of the task, and of everything it has started.

        A restart of the agent is outlived; see `Client` for how long. The lease
        of a task that this handle launched is renewed meanwhile.

        Args:
            timeout: How long at most, as a timedelta or in seconds; the client's own timeout comes on top if
                the site does not answer. None: for ever.

        Returns:
            The exit code, or minus the signal that ended the leader.

        Raises:
            WaitTimeoutError: The task lives still; a TimeoutError.
            LaunchFailedError: The process could not be started.
            TaskLostError: How it ended cannot be known.
            TaskNotFoundError: There is no such task any more.
        """
        return run(self._wait(span_of(timeout)))

    def wait_ready(self, timeout: Timeout = None) -> None:
        """Waits until the task's readiness check holds. As `wait`, it outlives a restart and renews the lease.

        Args:
            timeout: As in `wait`.

        Raises:
            WaitTimeoutError: It does not hold yet; a TimeoutError.
            NotReadyError: The task has exited.
            LaunchFailedError: The process could not be started.
            TaskLostError: The task has ended, and how cannot be known.
            TaskNotFoundError: There is no such task any more.
            ValueError: It was launched without a check, and without a template that may have one.
        """
        run(self._wait_ready(span_of(timeout)))

    def stop(self, plan: values.StopPlan | None = None) -> values.TaskStatus:
        """Begins to stop the task and returns at once; see `Client.stop`."""
        return run(self._stop(plan))

    def terminate(self) -> None:
        """Begins to stop the task by its own stop plan: by default SIGTERM, SIGKILL 10 seconds later."""
        self.stop()

    def kill(self) -> None:
        """SIGKILL to everything the task has started, at once."""
        self.stop(values.StopPlan.at_once())

    def send_signal(self, number: int) -> None:
        """Sends a signal to the leader; to an ended task it does nothing, as with Popen.

        Args:
            number: Linux signal number, 1 to 64.
        """
        run(self._send_signal(number))

    def write_input(self, data: bytes) -> None:
        """Writes to the task's standard input; see `InputWriter.write`."""
        self._input.write(data)

    def close_input(self) -> None:
        """Ends the task's standard input; see `InputWriter.close`."""
        self._input.close()

    def logs(self, stream: values.LogStream = values.LogStream.STDOUT, *, follow: bool = False) -> LogReader:
        """Reads an output from its earliest byte; see `Client.read_logs`.

        Args:
            stream: Which output.
            follow: Go on while the task lives, through all its attempts.
        """
        request = verbs.logs_request(self.task_id, stream, follow=follow)
        return log_reader(self._link, request)


class AsyncProcess(Handle):
    """One task on a site; every method does what its namesake of `Process` does, and raises the same."""

    def __init__(self, link: AioLink, task_id: str, launched: verbs.Launched | None = None) -> None:
        super().__init__(link, task_id, launched)
        self._link = link
        self._input = AsyncInputWriter(link, task_id)

    async def poll(self) -> int | None:
        """As `Process.poll`."""
        return await self._poll()

    async def wait(self, timeout: Timeout = None) -> int:  # noqa: ASYNC109 (Popen's word, and no cancellation)
        """As `Process.wait`."""
        return await self._wait(span_of(timeout))

    async def wait_ready(self, timeout: Timeout = None) -> None:  # noqa: ASYNC109 (Popen's word, and no cancellation)
        """As `Process.wait_ready`."""
        await self._wait_ready(span_of(timeout))

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

    async def write_input(self, data: bytes) -> None:
        """As `Process.write_input`."""
        await self._input.write(data)

    async def close_input(self) -> None:
        """As `Process.close_input`."""
        await self._input.aclose()

    def logs(self, stream: values.LogStream = values.LogStream.STDOUT, *, follow: bool = False) -> AsyncLogReader:
        """As `Process.logs`."""
        request = verbs.logs_request(self.task_id, stream, follow=follow)
        return async_log_reader(self._link, request)


def log_reader(link: BlockingLink, request: pb.ReadLogsRequest) -> LogReader:
    """A reader of what is asked for."""
    cursor = LogCursor(request)
    return LogReader(cursor, iterate(read_logs(link, cursor)))


def async_log_reader(link: AioLink, request: pb.ReadLogsRequest) -> AsyncLogReader:
    """A reader of what is asked for."""
    cursor = LogCursor(request)
    return AsyncLogReader(cursor, read_logs(link, cursor))
