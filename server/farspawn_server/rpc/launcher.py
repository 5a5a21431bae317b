"""The methods of `service TaskLauncher`: in, call, out."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping

import grpc

from farspawn.v1 import launcher_pb2 as pb
from farspawn_server.policy import Caller, authorise_renewal
from farspawn_server.rpc import replies, requests
from farspawn_server.rpc.gate import Gate
from farspawn_server.rpc.handlers import Answer, conversation, many_answers, one_answer
from farspawn_server.rpc.site_reply import site_reply
from farspawn_server.rpc.waiting import Waiting
from farspawn_server.supervisor import Supervisor
from farspawn_server.task.errors import SpecInvalidError, Violation

SERVICE = pb.DESCRIPTOR.services_by_name["TaskLauncher"].full_name


class Launcher:
    """One method an RPC."""

    def __init__(self, supervisor: Supervisor, gate: Gate, *, site_name: str) -> None:
        """Speak for a supervisor to whomever the gate lets in."""
        self._supervisor = supervisor
        self._gate = gate
        self._site_name = site_name
        self._waiting = Waiting()
        self._started_at = time.time_ns()

    def handlers(self) -> Mapping[str, grpc.RpcMethodHandler]:  # type: ignore[type-arg]  # of many kinds
        """Return the handler of each method, by its name in the contract."""
        gate = self._gate
        return {
            "LaunchTask": one_answer(gate, "LaunchTask", pb.LaunchTaskRequest, self.launch),
            "StopTask": one_answer(gate, "StopTask", pb.StopTaskRequest, self.stop),
            "Poll": one_answer(gate, "Poll", pb.PollRequest, self.poll, waits=True),
            "WatchTasks": many_answers(gate, "WatchTasks", pb.WatchTasksRequest, self.watch),
            "ListTasks": one_answer(gate, "ListTasks", pb.ListTasksRequest, self.list),
            "ReadLogs": many_answers(gate, "ReadLogs", pb.ReadLogsRequest, self.read_logs),
            "WriteInput": conversation(gate, "WriteInput", pb.WriteInputRequest, self.write_input),
            "SignalTask": one_answer(gate, "SignalTask", pb.SignalTaskRequest, self.signal),
            "DeleteTask": one_answer(gate, "DeleteTask", pb.DeleteTaskRequest, self.delete),
            "GetSite": one_answer(gate, "GetSite", pb.GetSiteRequest, self.site),
        }

    async def launch(self, caller: Caller, request: pb.LaunchTaskRequest) -> pb.LaunchTaskResponse:
        """LaunchTask."""
        launched = await self._supervisor.launch(caller, *requests.launch(request))
        return pb.LaunchTaskResponse(
            task=replies.task(launched.task), created=launched.created, forgotten=launched.forgotten
        )

    async def stop(self, caller: Caller, request: pb.StopTaskRequest) -> pb.StopTaskResponse:
        """StopTask."""
        task = await self._supervisor.stop(caller, request.task_id, requests.stop_plan(request.plan, "plan"))
        return pb.StopTaskResponse(status=replies.status(task))

    async def poll(self, caller: Caller, request: pb.PollRequest) -> bytes:
        """Poll."""
        if request.renew_leases:
            authorise_renewal(caller)
        wait = requests.wait(request)
        with self._waiting.holding(caller.identity, request.ByteSize(), len(request.task_ids)):
            tasks, unknown, revision = await self._supervisor.poll(
                caller,
                request.task_ids,
                wait=wait,
                since_revision=request.since_revision,
                renew_leases=request.renew_leases,
            )
        return replies.poll(tasks, unknown, revision)

    async def watch(self, caller: Caller, request: pb.WatchTasksRequest) -> AsyncIterator[Answer]:
        """WatchTasks."""
        if request.renew_leases:
            authorise_renewal(caller)
        which = requests.task_filter(request.filter)
        changes = self._supervisor.watch(
            caller, which, since_revision=request.since_revision, renew_leases=request.renew_leases
        )
        with self._waiting.holding(caller.identity, request.ByteSize()):
            async for change in changes:
                yield replies.change(change)

    async def list(self, caller: Caller, request: pb.ListTasksRequest) -> pb.ListTasksResponse:
        """ListTasks."""
        tasks, token = self._supervisor.list(
            caller,
            requests.task_filter(request.filter),
            page_size=requests.page_size(request),
            page_token=request.page_token,
        )
        return pb.ListTasksResponse(tasks=[replies.task(task) for task in tasks], next_page_token=token)

    async def read_logs(self, caller: Caller, request: pb.ReadLogsRequest) -> AsyncIterator[Answer]:
        """ReadLogs."""
        parts = self._supervisor.read_logs(
            caller,
            request.task_id,
            requests.output(request),
            start=requests.log_start(request),
            attempt=request.attempt,
            until_ended=request.follow,
            later_attempts=request.later_attempts,
        )
        async for part in parts:
            yield replies.log_part(part)

    async def write_input(
        self, caller: Caller, parts: AsyncIterator[pb.WriteInputRequest]
    ) -> AsyncIterator[pb.WriteInputResponse]:
        """WriteInput."""
        task_id = ""
        async for part in parts:
            if part.task_id not in ("", task_id):
                task_id = part.task_id
                await self._supervisor.begin_input(caller, task_id)
            taken = await self._supervisor.write_input(caller, task_id, requests.input_part(part))
            yield pb.WriteInputResponse(acknowledged_offset=taken)
        if not task_id:
            raise SpecInvalidError([Violation("", "no message came: send at least one, with the task's id")])

    async def signal(self, caller: Caller, request: pb.SignalTaskRequest) -> pb.SignalTaskResponse:
        """SignalTask."""
        reached = await self._supervisor.signal(
            caller, request.task_id, request.signal, tree=requests.whole_tree(request)
        )
        return pb.SignalTaskResponse(signalled=reached)

    async def delete(self, caller: Caller, request: pb.DeleteTaskRequest) -> pb.DeleteTaskResponse:
        """DeleteTask."""
        await self._supervisor.delete(caller, request.task_id)
        return pb.DeleteTaskResponse()

    async def site(self, caller: Caller, request: pb.GetSiteRequest) -> pb.GetSiteResponse:  # noqa: ARG002  # anybody may ask, for anything there is
        """GetSite."""
        site = site_reply(self._supervisor, caller, name=self._site_name, started_at=self._started_at)
        return pb.GetSiteResponse(site=site)
