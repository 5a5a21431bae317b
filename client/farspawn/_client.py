"""The blocking client: one site, one channel, every verb of the contract."""

import os
from collections.abc import Generator, Iterable, Mapping
from datetime import datetime, timedelta
from types import TracebackType
from typing import Self

import grpc

from farspawn import _follow as follow
from farspawn import _values as values
from farspawn import _verbs as verbs
from farspawn._address import address_of
from farspawn._arguments import Timeout, new_task_id, span_of, spec_of
from farspawn._blocking import BlockingLink, iterate, run
from farspawn._channel import check_secure
from farspawn._input import InputWriter
from farspawn._leases import LeaseKeeper
from farspawn._logs import LogReader
from farspawn._process import Process, log_reader


class Client:
    """Drives one site. Threads may share it.

    A call that finds the site out of reach is repeated a few times within a
    second or two (a signal is not: it might arrive twice). What waits, watches
    or follows goes further: once the site has answered, it outlives an absence
    of `patience`.

    Every method may raise, besides what it says itself: SiteUnreachableError,
    CallTimeoutError, SiteUnavailableError, UnauthenticatedError,
    PolicyDeniedError, SpecInvalidError, SiteFaultError, ClientClosedError,
    UnsendableError.

    Args:
        site: `unix:/path/to/socket` or `host:port`. None: what the environment variable FARSPAWN_SITE says,
            else the socket of the agent that this user started on this machine.
        credentials: For TLS. None: in the clear, and only to a site on this machine.
        timeout: How long a call may take, its repetitions together.
        patience: How long a site that has answered before may be out of reach while waiting.

    Raises:
        AddressError: The address cannot be used.
    """

    def __init__(
        self,
        site: str | None = None,
        *,
        credentials: grpc.ChannelCredentials | None = None,
        timeout: timedelta = timedelta(seconds=30),
        patience: timedelta = timedelta(minutes=1),
    ) -> None:
        address = address_of(site, os.environ, os.getuid())
        check_secure(address, credentials)
        self._address = address
        self._link = BlockingLink(address, credentials, timeout=timeout, patience=patience)

    def __repr__(self) -> str:
        return f"<Client of {self._address.target}>"

    @property
    def address(self) -> str:
        """Where the site is."""
        return self._address.target

    def launch(
        self,
        argv: Iterable[str] = (),
        *,
        template: str = "",
        parameters: Mapping[str, str | int] | None = None,
        template_revision: str = "",
        task_id: str = "",
        env: Mapping[str, str] | None = None,
        secrets: Mapping[str, str] | None = None,
        working_directory: str = "",
        stop: values.StopPlan | None = None,
        max_runtime: timedelta | None = None,
        lease: values.Lease | None = None,
        labels: Mapping[str, str] | None = None,
        restart: values.RestartPolicy | None = None,
        cleanup: values.Cleanup | None = None,
        open_input: bool = False,
        readiness: values.Readiness | None = None,
        resources: values.Resources | None = None,
        merge_output: bool = False,
    ) -> Process:
        """Starts a task, once: with the id and the spec of a task that exists, it returns that one.

        A program that is missing or cannot be executed is no error of this
        method: the task is FAILED, and the handle's `wait` says why.

        Args:
            argv: The program and its arguments. Without a slash the program is searched in the task's PATH.
            template: Name of a command that the site's owner wrote, in place of argv: see `Site.templates`. The
                directory, the cleanup and the readiness check are then the template's.
            parameters: Values for the template's parameters.
            template_revision: The revision that the template must have. Empty: any.
            task_id: 1 to 128 characters of `A-Z a-z 0-9 . _ : -`. Empty: a new UUIDv7, made here, so that a
                repeated call cannot start two.
            env: Environment on top of the site's minimal default; never the agent's own.
            secrets: More environment, which nobody is shown: it is in no answer, and the site forgets it when the task
                has ended. A repeated call that gives others changes nothing.
            working_directory: Absolute path; empty: `/`, or the template's.
            stop: How to stop the task when nobody says otherwise. None: the site's defaults.
            max_runtime: How long it may run. None: as long as the site allows, see `Limits`.
            lease: Whether it ends when nobody asks for it any more: see `keep_leases`. None: it does not, unless
                the site wants it of every task, see `Limits`.
            labels: Names of your own, to filter by.
            restart: When to start the program again after it ended. None: never.
            cleanup: What to run after each attempt that had a process. None: nothing.
            open_input: Give it a standard input to write to. False: it is empty.
            readiness: How to tell that it is ready; the handle's `wait_ready` waits for it.
            resources: What it may use; it can only lower what the site allows. None: that.
            merge_output: Standard error joins standard output, in the order of writing.

        Raises:
            TaskIdReusedError: The id names a task with another spec.
            TemplateChangedError: The template has another revision than `template_revision`.
            LimitReachedError: A limit of the site is reached.
            StorageFullError: The site cannot record the task.
        """
        task_id = task_id or new_task_id()
        spec = spec_of(
            argv,
            template=template,
            parameters=parameters,
            template_revision=template_revision,
            env=env,
            working_directory=working_directory,
            stop=stop,
            max_runtime=max_runtime,
            lease=lease,
            labels=labels,
            restart=restart,
            cleanup=cleanup,
            open_input=open_input,
            readiness=readiness,
            resources=resources,
            merge_output=merge_output,
        )
        return Process(self._link, task_id, run(self._link.call(verbs.launch(task_id, spec, secrets))))

    def process(self, task_id: str) -> Process:
        """A handle for a task that exists. Nothing is asked yet.

        It renews no lease: whoever launched the task does. See also `keep_leases`.
        """
        return Process(self._link, task_id)

    def stop(self, task_id: str, plan: values.StopPlan | None = None) -> values.TaskStatus:
        """Begins to stop a task and returns at once; stopping an ended task is no error.

        A second stop may bring deadlines forward and never puts them off.

        Args:
            task_id: Which task.
            plan: How; what is None in it is the task's default.

        Raises:
            TaskNotFoundError: No such task.
        """
        return run(self._link.call(verbs.stop(task_id, plan)))

    def poll(
        self,
        task_ids: Iterable[str],
        *,
        wait: timedelta | None = None,
        since_revision: int = 0,
        renew_leases: bool = False,
    ) -> values.PollAnswer:
        """Asks how tasks are; unknown ids are told in the answer.

        Args:
            task_ids: Which: at least one, at most `Limits.max_poll_tasks`.
            wait: How long the site may wait for a change, at most 5 minutes. None: not at all.
            since_revision: Tell only what became true after it: the `revision` of the last answer. 0: all. A long
                answer is cut: the next one, with its revision, brings the others at once.
            renew_leases: Renew the leases of these tasks.
        """
        call = verbs.poll(task_ids, wait=wait, since_revision=since_revision, renew_leases=renew_leases)
        return run(self._link.call(call))

    def as_ended(
        self,
        task_ids: Iterable[str],
        timeout: Timeout = None,
        *,
        renew_every: timedelta | None = None,
    ) -> Generator[values.TaskStatus, None, None]:
        """Yields each task once, when it has ended, in whatever state. One poll at a time follows all.

        Args:
            task_ids: Which: at most `Limits.max_poll_tasks`.
            timeout: How long to wait, as a timedelta or in seconds. None: for ever.
            renew_every: Renew the tasks' leases at least so often, while this is iterated over; a third of
                their ttl is good. None: do not.

        Raises:
            WaitTimeoutError: Some live still; a TimeoutError.
            TaskNotFoundError: One of them does not exist, or does no longer.
        """
        return iterate(follow.as_ended(self._link, task_ids, span_of(timeout), renew_every))

    def wait_all(
        self,
        task_ids: Iterable[str],
        timeout: Timeout = None,
        *,
        renew_every: timedelta | None = None,
    ) -> Mapping[str, values.TaskStatus]:
        """Waits until all have ended, in whatever state; see `as_ended`.

        Returns:
            Their final statuses by id, in the order of their ends.
        """
        ended = self.as_ended(task_ids, timeout, renew_every=renew_every)
        return {status.task_id: status for status in ended}

    def keep_leases(
        self, task_ids: Iterable[str] | None = None, *, labels: Mapping[str, str] | None = None
    ) -> LeaseKeeper:
        """Keeps leases alive in the background, for as long as the `with` block lasts.

        It outlives any absence of a site that has answered once. Whether leases
        were over all the same is told by its `expired`, and by leaving the block.

        Args:
            task_ids: Of these tasks: at most `Limits.max_poll_tasks`.
            labels: Or of all tasks with these labels, also of those launched later.

        Raises:
            ValueError: Neither is given, or both.
            TaskNotFoundError: One of them does not exist; raised on entering.
            LeaseExpiredError: Some were not renewed in time; raised on leaving.
        """
        return LeaseKeeper(self._link, task_ids, labels)

    def watch(
        self,
        *,
        states: Iterable[values.TaskState] = (),
        labels: Mapping[str, str] | None = None,
        owner: str = "",
        since_revision: int = 0,
        renew_leases: bool = False,
    ) -> Generator[values.WatchEvent, None, None]:
        """Yields the tasks that match as they are, then each change, for ever.

        A stream that breaks off is taken up again; WatchResumed tells of it,
        since deletions are then missed.

        Args:
            states: In one of these. Empty: any.
            labels: With all of these.
            owner: Launched by this identity. Empty: any that the caller may see.
            since_revision: Begin with what became true after it. 0: with everything.
            renew_leases: Renew the leases of the matching tasks, while this is iterated over.
        """
        which = verbs.task_filter(states, labels, owner)
        return iterate(follow.watch(self._link, which, since_revision, renew_leases=renew_leases))

    def list_tasks(
        self,
        *,
        states: Iterable[values.TaskState] = (),
        labels: Mapping[str, str] | None = None,
        owner: str = "",
    ) -> Generator[values.Task, None, None]:
        """Yields the tasks that match, oldest first; fetched page by page.

        Args:
            states: In one of these. Empty: any.
            labels: With all of these.
            owner: Launched by this identity. Empty: any that the caller may see.
        """
        return iterate(follow.list_tasks(self._link, verbs.task_filter(states, labels, owner)))

    def read_logs(
        self,
        task_id: str,
        stream: values.LogStream = values.LogStream.STDOUT,
        *,
        offset: int | None = None,
        tail_lines: int | None = None,
        since: datetime | None = None,
        follow: bool = False,
        attempt: int = 0,
    ) -> LogReader:
        """Reads a task's output. Nothing is asked before the first chunk is.

        Args:
            task_id: Which task.
            stream: Which output.
            offset: Start at this byte, counted from 0 over the whole output. None: at the earliest there is.
            tail_lines: Start at the last so many lines, looking back over at most 1 MiB.
            since: Leave out what came before this time, to the second, by the site's clock; local time if it has no
                zone. With `offset` or `tail_lines`, whichever is later.
            follow: Go on while the task lives. False: end at what is there now.
            attempt: Which attempt, counted from 1, and no other. 0: the newest, and those that follow it.

        Raises:
            ValueError: Both an offset and a number of lines are given.
            TaskNotFoundError: No such task; raised by the iteration.
            LogOffsetExpiredError: The offset is not there; raised by the iteration.
        """
        request = verbs.logs_request(
            task_id, stream, offset=offset, tail_lines=tail_lines, since=since, follow=follow, attempt=attempt
        )
        return log_reader(self._link, request)

    def write_input(self, task_id: str) -> InputWriter:
        """A writer to the standard input of a task that was launched with `open_input`. Nothing is asked yet."""
        return InputWriter(self._link, task_id)

    def signal(self, task_id: str, number: int, scope: values.SignalScope = values.SignalScope.LEADER) -> int:
        """Sends a signal. It is not repeated when the site is out of reach.

        Args:
            task_id: Which task.
            number: Linux signal number, 1 to 64.
            scope: Which of its processes.

        Returns:
            How many processes it went to.

        Raises:
            TaskNotFoundError: No such task.
            TaskNotRunningError: There is no process to signal.
        """
        return run(self._link.call(verbs.signal(task_id, number, scope)))

    def delete(self, task_id: str) -> None:
        """Forgets an ended task and removes its logs.

        Raises:
            TaskNotFoundError: No such task; also when it was deleted before.
            TaskNotEndedError: It lives: stop it first.
        """
        run(self._link.call(verbs.delete(task_id)))

    def site(self) -> values.Site:
        """Describes the site: version, capabilities, limits, load, and the templates that `launch` takes."""
        return run(self._link.call(verbs.site()))

    def close(self) -> None:
        """Closes the channel. The tasks run on."""
        self._link.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
