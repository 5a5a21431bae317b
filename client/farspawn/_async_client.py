"""The client of asyncio: `Client`, method by method, in coroutines."""

import os
from collections.abc import AsyncGenerator, Iterable, Mapping
from datetime import datetime, timedelta
from types import TracebackType
from typing import Self

import grpc

from farspawn import _follow as follow
from farspawn import _values as values
from farspawn import _verbs as verbs
from farspawn._address import address_of
from farspawn._aio import AioLink
from farspawn._arguments import Timeout, new_task_id, span_of, spec_of
from farspawn._channel import check_secure
from farspawn._input import AsyncInputWriter
from farspawn._leases import AsyncLeaseKeeper
from farspawn._logs import AsyncLogReader
from farspawn._process import AsyncProcess, async_log_reader


class AsyncClient:
    """Drives one site from one event loop, the one that uses it first.

    Arguments and errors are those of `Client`; so is what every method does.
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
        self._link = AioLink(address, credentials, timeout=timeout, patience=patience)

    def __repr__(self) -> str:
        return f"<AsyncClient of {self._address.target}>"

    @property
    def address(self) -> str:
        """As `Client.address`."""
        return self._address.target

    async def launch(
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
    ) -> AsyncProcess:
        """As `Client.launch`."""
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
        launched = await self._link.call(verbs.launch(task_id, spec, secrets))
        return AsyncProcess(self._link, task_id, launched)

    def process(self, task_id: str) -> AsyncProcess:
        """As `Client.process`."""
        return AsyncProcess(self._link, task_id)

    async def stop(self, task_id: str, plan: values.StopPlan | None = None) -> values.TaskStatus:
        """As `Client.stop`."""
        return await self._link.call(verbs.stop(task_id, plan))

    async def poll(
        self,
        task_ids: Iterable[str],
        *,
        wait: timedelta | None = None,
        since_revision: int = 0,
        renew_leases: bool = False,
    ) -> values.PollAnswer:
        """As `Client.poll`."""
        call = verbs.poll(task_ids, wait=wait, since_revision=since_revision, renew_leases=renew_leases)
        return await self._link.call(call)

    def as_ended(
        self,
        task_ids: Iterable[str],
        timeout: Timeout = None,
        *,
        renew_every: timedelta | None = None,
    ) -> AsyncGenerator[values.TaskStatus, None]:
        """As `Client.as_ended`."""
        return follow.as_ended(self._link, task_ids, span_of(timeout), renew_every)

    async def wait_all(
        self,
        task_ids: Iterable[str],
        timeout: Timeout = None,  # noqa: ASYNC109 (the word of `Client`, and no cancellation)
        *,
        renew_every: timedelta | None = None,
    ) -> Mapping[str, values.TaskStatus]:
        """As `Client.wait_all`."""
        ended = self.as_ended(task_ids, timeout, renew_every=renew_every)
        return {status.task_id: status async for status in ended}

    def keep_leases(
        self, task_ids: Iterable[str] | None = None, *, labels: Mapping[str, str] | None = None
    ) -> AsyncLeaseKeeper:
        """As `Client.keep_leases`."""
        return AsyncLeaseKeeper(self._link, task_ids, labels)

    def watch(
        self,
        *,
        states: Iterable[values.TaskState] = (),
        labels: Mapping[str, str] | None = None,
        owner: str = "",
        since_revision: int = 0,
        renew_leases: bool = False,
    ) -> AsyncGenerator[values.WatchEvent, None]:
        """As `Client.watch`."""
        which = verbs.task_filter(states, labels, owner)
        return follow.watch(self._link, which, since_revision, renew_leases=renew_leases)

    def list_tasks(
        self,
        *,
        states: Iterable[values.TaskState] = (),
        labels: Mapping[str, str] | None = None,
        owner: str = "",
    ) -> AsyncGenerator[values.Task, None]:
        """As `Client.list_tasks`."""
        return follow.list_tasks(self._link, verbs.task_filter(states, labels, owner))

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
    ) -> AsyncLogReader:
        """As `Client.read_logs`."""
        request = verbs.logs_request(
            task_id, stream, offset=offset, tail_lines=tail_lines, since=since, follow=follow, attempt=attempt
        )
        return async_log_reader(self._link, request)

    def write_input(self, task_id: str) -> AsyncInputWriter:
        """As `Client.write_input`."""
        return AsyncInputWriter(self._link, task_id)

    async def signal(self, task_id: str, number: int, scope: values.SignalScope = values.SignalScope.LEADER) -> int:
        """As `Client.signal`."""
        return await self._link.call(verbs.signal(task_id, number, scope))

    async def delete(self, task_id: str) -> None:
        """As `Client.delete`."""
        await self._link.call(verbs.delete(task_id))

    async def site(self) -> values.Site:
        """As `Client.site`."""
        return await self._link.call(verbs.site())

    async def close(self) -> None:
        """As `Client.close`."""
        await self._link.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()
