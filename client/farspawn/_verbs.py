"""Every verb of the contract as a value: what is asked, and how the answer is read.

Written once and carried by two links, the blocking one and the one of asyncio.
Nothing is sent here.
"""

from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Generic, TypeVar

from google.protobuf.message import Message

from farspawn import _values as values
from farspawn import _wire as wire
from farspawn import _wire_site as wire_site
from farspawn import _wire_spec as wire_spec
from farspawn._arguments import several
from farspawn._errors import UnsendableError
from farspawn.v1 import launcher_pb2 as pb

T = TypeVar("T")
_Answer = TypeVar("_Answer", bound=Message)

SERVICE = "farspawn.v1.TaskLauncher"
INPUT_PIECE = 64 << 10
"""Bytes of input in one message, at most."""


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """One call, not made yet.

    Attributes:
        method: Its name in the contract.
        request: What is asked; it may hold secrets, so no repr shows it.
        read: Makes a value of an answer's bytes.
        wait: How long the site was asked to hold the answer back.
        queued: Made as soon as the site is there again; otherwise it fails if it is not.
    """

    method: str
    request: Message = field(repr=False)
    read: Callable[[bytes], T]
    wait: timedelta = timedelta()
    queued: bool = False


@dataclass(frozen=True, slots=True)
class Launched:
    """The answer to a launch: the task, and whether this call made it."""

    task: values.Task
    created: bool


@dataclass(frozen=True, slots=True)
class Page:
    """A page of tasks; an empty token: the last one."""

    tasks: tuple[values.Task, ...]
    next_page_token: str


def launch(task_id: str, spec: values.TaskSpec, secrets: Mapping[str, str] | None = None) -> Call[Launched]:
    """LaunchTask."""
    _refuse_unsendable(secrets or {})
    with _sendable():
        request = pb.LaunchTaskRequest(task_id=task_id, spec=wire_spec.spec_to_wire(spec), secrets=secrets)
    return Call(
        "LaunchTask",
        request,
        _reader(pb.LaunchTaskResponse, lambda a: Launched(wire.task_from_wire(a.task), a.created)),
    )


def stop(task_id: str, plan: values.StopPlan | None) -> Call[values.TaskStatus]:
    """StopTask."""
    with _sendable():
        request = pb.StopTaskRequest(task_id=task_id, plan=wire_spec.plan_to_wire(plan or values.StopPlan()))
    return Call("StopTask", request, _reader(pb.StopTaskResponse, lambda a: wire.status_from_wire(a.status)))


def poll(
    task_ids: Iterable[str], *, wait: timedelta | None, since_revision: int, renew_leases: bool
) -> Call[values.PollAnswer]:
    """Poll."""
    with _sendable():
        request = pb.PollRequest(
            task_ids=several(task_ids),
            wait=wire_spec.span_to_wire(wait),
            since_revision=since_revision,
            renew_leases=renew_leases,
        )
    return Call("Poll", request, _reader(pb.PollResponse, wire.poll_from_wire), wait or timedelta())


def watch(tasks: pb.TaskFilter, since_revision: int, *, renew_leases: bool = False) -> Call[values.WatchEvent | None]:
    """WatchTasks; a stream."""
    with _sendable():
        request = pb.WatchTasksRequest(filter=tasks, since_revision=since_revision, renew_leases=renew_leases)
    return Call("WatchTasks", request, _reader(pb.WatchTasksResponse, wire.event_from_wire))


def list_page(tasks: pb.TaskFilter, page_token: str) -> Call[Page]:
    """ListTasks."""
    request = pb.ListTasksRequest(filter=tasks, page_token=page_token)
    return Call(
        "ListTasks",
        request,
        _reader(
            pb.ListTasksResponse,
            lambda a: Page(tuple(wire.task_from_wire(task) for task in a.tasks), a.next_page_token),
        ),
    )


def read_logs(request: pb.ReadLogsRequest) -> Call[pb.ReadLogsResponse]:
    """ReadLogs; a stream, whose parts are read where the place in it is kept."""
    return Call("ReadLogs", request, pb.ReadLogsResponse.FromString)


def write_input(task_id: str, offset: int, data: bytes = b"", *, end: bool = False) -> Call[int]:
    """WriteInput, with one message; a stream of how much the task has taken.

    The contract takes a stream of messages. To send one is to lose little: it
    fills a pipe. But a call that still sends when its server is killed may fail
    with "Internal error from Core", or hang for ever if gRPC repeats it (both
    seen, with grpcio 1.85).

    Args:
        task_id: Which task.
        offset: The place of the first byte.
        data: What to write, at most INPUT_PIECE bytes; empty: only ask how much was taken.
        end: Nothing follows.
    """
    with _sendable():
        request = pb.WriteInputRequest(task_id=task_id, offset=offset, data=data, end_of_input=end)
    return Call("WriteInput", request, _reader(pb.WriteInputResponse, lambda a: a.acknowledged_offset))


def signal(task_id: str, number: int, scope: values.SignalScope) -> Call[int]:
    """SignalTask."""
    with _sendable():
        request = pb.SignalTaskRequest(task_id=task_id, signal=number, scope=pb.SignalScope.ValueType(scope))
    return Call("SignalTask", request, _reader(pb.SignalTaskResponse, lambda a: a.signalled))


def delete(task_id: str) -> Call[None]:
    """DeleteTask."""
    with _sendable():
        request = pb.DeleteTaskRequest(task_id=task_id)
    return Call("DeleteTask", request, _reader(pb.DeleteTaskResponse, lambda _: None))


def site() -> Call[values.Site]:
    """GetSite."""
    return Call("GetSite", pb.GetSiteRequest(), _reader(pb.GetSiteResponse, lambda a: wire_site.site_from_wire(a.site)))


def task_filter(states: Iterable[values.TaskState], labels: Mapping[str, str] | None, owner: str) -> pb.TaskFilter:
    """Which tasks, for `watch` and `list_page`."""
    with _sendable():
        return wire_spec.filter_to_wire(states, labels, owner)


def logs_request(
    task_id: str,
    stream: values.LogStream,
    *,
    offset: int | None = None,
    tail_lines: int | None = None,
    since: datetime | None = None,
    follow: bool = False,
    attempt: int = 0,
) -> pb.ReadLogsRequest:
    """What to read, for `read_logs`.

    Raises:
        ValueError: Both an offset and a number of lines are given.
    """
    if offset is not None and tail_lines is not None:
        raise ValueError("start at an offset or at the last lines, not at both")
    with _sendable():
        request = pb.ReadLogsRequest(
            task_id=task_id, stream=pb.LogStream.ValueType(stream), follow=follow, attempt=attempt
        )
        if offset is not None:
            request.offset = offset
        if tail_lines is not None:
            request.tail_lines = tail_lines
        if since is not None:
            request.since.FromDatetime(since.astimezone(UTC))
    return request


def serialize(request: Message) -> bytes:
    """A request's bytes, as gRPC wants to have them made."""
    return request.SerializeToString()


def _reader(answer: type[_Answer], value_of: Callable[[_Answer], T]) -> Callable[[bytes], T]:
    return lambda data: value_of(answer.FromString(data))


def _refuse_unsendable(secrets: Mapping[str, str]) -> None:
    # Before Protobuf does: its error holds the text, and so would ours.
    bad = [name for name, value in secrets.items() if not _is_unicode(value)]
    if bad:
        raise UnsendableError(f"cannot be sent: secret {', '.join(map(repr, bad))}: text that is not Unicode")


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


@contextmanager
def _sendable() -> Generator[None]:
    try:
        yield
    except (ValueError, OverflowError) as error:
        # Protobuf's own words: a number out of range, or text that is not Unicode.
        raise UnsendableError(f"cannot be sent: {error}") from error
