"""One client: a channel of its own, each verb of the contract as a method, and every call on the record."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence

import grpc
from google.rpc import error_details_pb2, status_pb2

from chaos import seen
from chaos.history import Answer, Call, Fate, History, Launched, Listed, Polled, Read
from chaos.programs import SPEC_LABEL, span
from chaos.site import CHANNEL_OPTIONS
from farspawn.v1 import launcher_pb2 as pb
from farspawn.v1 import task_pb2
from farspawn.v1.launcher_pb2_grpc import TaskLauncherStub

_Given = Mapping[str, float | str | bool]

_DEADLINE = 5.0
_MAYBE = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED)


class Caller:
    """Makes calls and records them. Used from one event loop."""

    def __init__(self, name: str, address: str, history: History) -> None:
        """Open a channel; `name` is for the record."""
        self.name = name
        self.errors: list[str] = []
        # A subchannel that is shared would make all clients one client.
        own = ("grpc.use_local_subchannel_pool", 1)
        self.channel = grpc.aio.insecure_channel(address, options=(*CHANNEL_OPTIONS, own))
        self.stub = TaskLauncherStub(self.channel)
        self._history = history

    async def launch(self, task_id: str, spec: task_pb2.TaskSpec) -> Call:
        """LaunchTask."""
        request = pb.LaunchTaskRequest(task_id=task_id, spec=spec)

        async def ask() -> Answer:
            reply = await self.stub.LaunchTask(request, timeout=_DEADLINE)
            name = reply.task.spec.labels[SPEC_LABEL]
            return Launched(seen.status(reply.task.status), reply.created, name, reply.task.spec_digest)

        return await self._record("launch", (task_id,), {"id": task_id, "spec": spec.labels[SPEC_LABEL]}, ask)

    async def stop(self, task_id: str, plan: task_pb2.StopPlan) -> Call:
        """StopTask."""
        request = pb.StopTaskRequest(task_id=task_id, plan=plan)

        async def ask() -> Answer:
            return seen.status((await self.stub.StopTask(request, timeout=_DEADLINE)).status)

        return await self._record("stop", (task_id,), _plan(task_id, plan), ask)

    async def signal(self, task_id: str, number: int, scope: pb.SignalScope.ValueType) -> Call:
        """SignalTask."""
        request = pb.SignalTaskRequest(task_id=task_id, signal=number, scope=scope)

        async def ask() -> Answer:
            return (await self.stub.SignalTask(request, timeout=_DEADLINE)).signalled

        given: _Given = {"id": task_id, "signal": number, "scope": scope}
        return await self._record("signal", (task_id,), given, ask)

    async def poll(self, task_ids: Sequence[str], *, wait: float = 0, since: int = 0, renew: bool = False) -> Call:
        """Poll."""
        request = pb.PollRequest(task_ids=task_ids, wait=span(wait), since_revision=since, renew_leases=renew)

        async def ask() -> Answer:
            reply = await self.stub.Poll(request, timeout=_DEADLINE + wait)
            statuses = tuple(seen.status(each) for each in reply.statuses)
            return Polled(statuses, tuple(reply.unknown_task_ids), reply.revision)

        given: _Given = {"ids": " ".join(task_ids), "wait": wait, "since": since, "renew": renew}
        return await self._record("poll", tuple(task_ids), given, ask)

    async def list(self, *, page_size: int = 1000, page_token: str = "") -> tuple[Call, str]:
        """ListTasks; return the call and the token of the next page."""
        request = pb.ListTasksRequest(page_size=page_size, page_token=page_token)
        token = ""

        async def ask() -> Answer:
            nonlocal token
            reply = await self.stub.ListTasks(request, timeout=_DEADLINE)
            token = reply.next_page_token
            tasks = tuple((seen.status(task.status), task.spec.labels[SPEC_LABEL]) for task in reply.tasks)
            return Listed(tasks, whole=not page_token and not token)

        return await self._record("list", (), {"size": page_size, "token": page_token}, ask), token

    async def read(self, task_id: str, *, follow: bool) -> Call:
        """ReadLogs, from the beginning of the newest attempt; of one that follows, the last one that it came to."""
        request = pb.ReadLogsRequest(task_id=task_id, follow=follow)

        async def ask() -> Answer:
            attempt, data, complete, at = 0, b"", False, 0
            async for part in self.stub.ReadLogs(request, timeout=_DEADLINE):
                match part.WhichOneof("part"):
                    case "header":
                        attempt, data, complete, at = part.header.attempt, b"", False, 0
                    case "chunk":
                        if part.chunk.offset != at:
                            self.errors.append(f"log of {task_id}: a chunk at {part.chunk.offset}, expected at {at}")
                        data += part.chunk.data
                        at += len(part.chunk.data)
                    case "end":
                        complete = part.end.complete
            text = data.decode(errors="replace")
            return Read(attempt, text if len(text) < 4096 else text[:200] + text[-200:], complete)

        return await self._record("read", (task_id,), {"id": task_id, "follow": follow}, ask)

    async def delete(self, task_id: str) -> Call:
        """DeleteTask."""
        request = pb.DeleteTaskRequest(task_id=task_id)

        async def ask() -> Answer:
            await self.stub.DeleteTask(request, timeout=_DEADLINE)
            return None

        return await self._record("delete", (task_id,), {"id": task_id}, ask)

    async def close(self) -> None:
        """Close the channel."""
        await self.channel.close()

    async def _record(
        self, verb: str, task_ids: tuple[str, ...], given: _Given, ask: Callable[[], Awaitable[Answer]]
    ) -> Call:
        number, start = self._history.begin(verb), self._history.now()
        fate, reason, answer = Fate.ANSWERED, "", None
        try:
            answer = await ask()
        except grpc.aio.AioRpcError as error:
            fate, reason = self._fate(error)
        call = Call(number, self.name, verb, task_ids, given, start, self._history.now(), fate, reason, answer)
        if fate is Fate.UNKNOWN and not reason.startswith(tuple(code.name for code in _MAYBE)):
            self.errors.append(f"an answer that is none of the contract: {call}")
        self._history.add(call)
        return call

    def _fate(self, error: grpc.aio.AioRpcError) -> tuple[Fate, str]:
        text = f"{error.code().name} {(error.details() or '').splitlines()[:1]}"
        if why := reason_of(error):
            return Fate.REFUSED, why
        if error.code() is grpc.StatusCode.UNAVAILABLE and "failed to connect to all addresses" in text:
            return Fate.NEVER_SENT, text
        return Fate.UNKNOWN, text


def reason_of(error: grpc.aio.AioRpcError) -> str:
    """Return the reason of the site's refusal, "" if it was not the site that refused."""
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin" and isinstance(value, bytes):
            info = error_details_pb2.ErrorInfo()
            for detail in status_pb2.Status.FromString(value).details:
                if detail.Unpack(info):
                    return str(info.reason)
    return ""


def _plan(task_id: str, plan: task_pb2.StopPlan) -> _Given:
    """Return the id, the spans that are set, in seconds, and the signal."""
    spans = {name: getattr(plan, name) for name in ("linger", "drain", "grace") if plan.HasField(name)}
    seconds = {name: each.ToTimedelta().total_seconds() for name, each in spans.items()}
    return {"id": task_id, **seconds, "signal": plan.signal}
