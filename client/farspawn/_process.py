"""A task as something that feels like `subprocess.Popen`."""

from farspawn import _values as values
from farspawn import _verbs as verbs
from farspawn._blocking import BlockingLink, iterate, run
from farspawn._follow import read_logs
from farspawn._handle import Handle
from farspawn._logs import LogCursor
from farspawn._readers import LogReader
from farspawn._spans import Timeout, span_of
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

    def logs(self, stream: values.LogStream = values.LogStream.STDOUT, *, follow: bool = False) -> LogReader:
        """Reads an output from its earliest byte; see `Client.read_logs`.

        Args:
            stream: Which output.
            follow: Go on while the task lives.
        """
        request = verbs.logs_request(self.task_id, stream, offset=None, tail_lines=None, follow=follow, attempt=0)
        return log_reader(self._link, request)


def log_reader(link: BlockingLink, request: pb.ReadLogsRequest) -> LogReader:
    """A reader of what is asked for."""
    cursor = LogCursor(request)
    return LogReader(cursor, iterate(read_logs(link, cursor)))
