"""From values to messages. What is not known stays unset."""

from __future__ import annotations

import errno
import functools
from collections.abc import Callable, Iterable, Sequence

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from farspawn.v1 import launcher_pb2, task_pb2
from farspawn_server.changes import Deletion
from farspawn_server.logs import Chunk
from farspawn_server.rpc.spec_replies import span, spec
from farspawn_server.rpc.written import Written
from farspawn_server.supervisor.log_stream import Checkpoint, End, Header, LogPart
from farspawn_server.supervisor.registry import PAGE_BYTES
from farspawn_server.task.life import Task
from farspawn_server.task.outcome import (
    Attempt,
    Cause,
    CleanupOutcome,
    LaunchFailure,
    OomKill,
    Outcome,
    State,
    Survivor,
    Times,
    Usage,
)

_STATE: dict[State, task_pb2.TaskState.ValueType] = {
    State.PENDING: task_pb2.TASK_STATE_PENDING,
    State.STARTING: task_pb2.TASK_STATE_STARTING,
    State.RUNNING: task_pb2.TASK_STATE_RUNNING,
    State.STOPPING: task_pb2.TASK_STATE_STOPPING,
    State.EXITED: task_pb2.TASK_STATE_EXITED,
    State.FAILED: task_pb2.TASK_STATE_FAILED,
    State.LOST: task_pb2.TASK_STATE_LOST,
}
_CAUSE: dict[Cause, task_pb2.Cause.ValueType] = {
    Cause.COMPLETED: task_pb2.CAUSE_COMPLETED,
    Cause.STOP_REQUESTED: task_pb2.CAUSE_STOP_REQUESTED,
    Cause.MAX_RUNTIME: task_pb2.CAUSE_MAX_RUNTIME,
    Cause.LEASE_EXPIRED: task_pb2.CAUSE_LEASE_EXPIRED,
    Cause.SITE_SHUTDOWN: task_pb2.CAUSE_SITE_SHUTDOWN,
    Cause.LAUNCH_FAILED: task_pb2.CAUSE_LAUNCH_FAILED,
    Cause.HOST_REBOOTED: task_pb2.CAUSE_HOST_REBOOTED,
    Cause.SUPERVISION_LOST: task_pb2.CAUSE_SUPERVISION_LOST,
}
_OOM_KILL: dict[OomKill, task_pb2.OomKill.ValueType] = {
    OomKill.UNKNOWN: task_pb2.OOM_KILL_UNSPECIFIED,
    OomKill.NO: task_pb2.OOM_KILL_NO,
    OomKill.LIKELY: task_pb2.OOM_KILL_LIKELY,
    OomKill.YES: task_pb2.OOM_KILL_YES,
}
_PHASE: dict[str, task_pb2.LaunchPhase.ValueType] = {
    "working_directory": task_pb2.LAUNCH_PHASE_WORKING_DIRECTORY,
    "program": task_pb2.LAUNCH_PHASE_PROGRAM,
    "output": task_pb2.LAUNCH_PHASE_OUTPUT,
    "spawn": task_pb2.LAUNCH_PHASE_SPAWN,
    "confinement": task_pb2.LAUNCH_PHASE_CONFINEMENT,
}

_Within = Callable[[task_pb2.TaskStatus], Message]


def moment(at: int | None) -> Timestamp | None:
    """Write a wall clock in nanoseconds."""
    return None if at is None else Timestamp(seconds=at // 1_000_000_000, nanos=at % 1_000_000_000)


def task(value: Task) -> task_pb2.Task:
    """Write a task."""
    return task_pb2.Task(
        status=status(value),
        spec=spec(value.spec),
        owner=value.owner,
        spec_digest=value.digest,
        template_revision="" if value.permit is None else value.permit.template_revision,
        lease_ttl=None if value.terms.lease is None else span(value.terms.lease.ttl),
        max_runtime=span(value.terms.max_runtime),
    )


def status(value: Task) -> task_pb2.TaskStatus:
    """Write what changes about a task."""
    return task_pb2.TaskStatus(
        task_id=value.task_id,
        uid=value.uid,
        state=_STATE[value.state],
        revision=value.revision,
        attempt=value.attempt,
        pid=value.pid,
        times=_times(value.times),
        outcome=None if value.outcome is None else _outcome(value.outcome),
        ready=value.ready,
        earlier_attempts=[_attempt(each) for each in value.earlier],
        unkillable=_survivors(value.unkillable),
        output_error="" if value.outputs is None else _errno_name(value.outputs.error_number),
    )


# A status is read far more often than it changes. By uid, not by the task: that would keep its spec too.
_statuses = Written(16 << 20)


def _write(value: Task, within: _Within) -> bytes:
    """Return the bytes of the message that holds a task's status."""
    return _statuses.get((value.uid, within), value.revision, lambda: within(status(value)).SerializeToString())


def _polled(one: task_pb2.TaskStatus) -> Message:
    return launcher_pb2.PollResponse(statuses=[one])


def _watched(one: task_pb2.TaskStatus) -> Message:
    return launcher_pb2.WatchTasksResponse(changed=one)


def poll(tasks: Iterable[Task], unknown: Sequence[str], revision: int) -> bytes:
    """Write a PollResponse; of more tasks than there is room for, the first, and the revision of the last of these.

    Its parts one after the other: encoded messages that are joined are one message, see "Last One Wins" in
    https://protobuf.dev/programming-guides/encoding/.

    Args:
        tasks: in the order of their revisions.
        unknown: ids that name none.
        revision: of the site.
    """
    parts = [launcher_pb2.PollResponse(unknown_task_ids=unknown).SerializeToString()]
    room, told = PAGE_BYTES - len(parts[0]), 0
    for task in tasks:
        if told and room <= 0:
            revision = told
            break
        parts.append(_write(task, _polled))
        room -= len(parts[-1])
        told = task.revision
    return b"".join([*parts, launcher_pb2.PollResponse(revision=revision).SerializeToString()])


def change(value: Task | Deletion | int) -> launcher_pb2.WatchTasksResponse | bytes:
    """Write one thing to know; a number is a revision to resume from."""
    if isinstance(value, Task):
        return _write(value, _watched)
    if isinstance(value, Deletion):
        return launcher_pb2.WatchTasksResponse(deleted_uid=value.uid)
    return launcher_pb2.WatchTasksResponse(checkpoint=launcher_pb2.WatchTasksResponse.Checkpoint(revision=value))


def _tag(message: type[Message], name: str) -> bytes:
    """Return what stands before a field, https://protobuf.dev/programming-guides/encoding/."""
    field = message.DESCRIPTOR.fields_by_name[name]
    wire_type = 0 if field.type == field.TYPE_UINT64 else 2  # else its length comes first
    return _varint(field.number << 3 | wire_type)


def _varint(number: int) -> bytes:
    written = bytearray()
    while number > 0x7F:
        written.append(number & 0x7F | 0x80)
        number >>= 7
    written.append(number)
    return bytes(written)


def log_part(value: LogPart) -> launcher_pb2.ReadLogsResponse | bytes:
    """Write a part of an output."""
    reply = launcher_pb2.ReadLogsResponse
    match value:
        case Header():
            header = reply.Header(earliest_offset=value.earliest, start_offset=value.start, attempt=value.attempt)
            return reply(header=header)
        case Chunk():
            return _chunk(value)
        case Checkpoint():
            return reply(checkpoint=reply.Checkpoint(offset=value.offset))
        case End():
            return reply(end=reply.End(offset=value.offset, complete=value.complete, lost_bytes=value.lost))


_CHUNK = _tag(launcher_pb2.ReadLogsResponse, "chunk")
_OFFSET = _tag(launcher_pb2.ReadLogsResponse.Chunk, "offset")
_DATA = _tag(launcher_pb2.ReadLogsResponse.Chunk, "data")


def _chunk(value: Chunk) -> bytes:
    """Write a ReadLogsResponse by hand: its data is copied once, not four times."""
    start = b"".join((_OFFSET, _varint(value.offset), _written_at(value.second), _DATA, _varint(len(value.data))))
    return b"".join((_CHUNK, _varint(len(start) + len(value.data)), start, value.data))


@functools.lru_cache(256)
def _written_at(second: int | None) -> bytes:
    if second is None:
        return b""
    return launcher_pb2.ReadLogsResponse.Chunk(written_at=Timestamp(seconds=second)).SerializeToString()


def _attempt(value: Attempt) -> task_pb2.Attempt:
    return task_pb2.Attempt(
        number=value.number,
        state=_STATE[value.state],
        times=_times(value.times),
        outcome=_outcome(value.outcome),
    )


def _outcome(value: Outcome) -> task_pb2.Outcome:
    leader = value.leader
    message = task_pb2.Outcome(
        core_dumped=leader is not None and leader.core_dumped,
        oom_kill=task_pb2.OOM_KILL_UNSPECIFIED if leader is None else _OOM_KILL[leader.oom_kill],
        cause=_CAUSE[value.cause],
        stopped_by=value.stopped_by,
        message=value.message,
        usage=None if leader is None or leader.usage is None else _usage(leader.usage),
        survivors=_survivors(value.survivors),
        launch_failure=None if value.failure is None else _failure(value.failure),
        cleanup=None if value.cleanup is None else _cleanup_outcome(value.cleanup),
    )
    if leader is not None and leader.code is not None:
        message.exit_code = leader.code
    if leader is not None and leader.signal is not None:
        message.signal = leader.signal
    return message


def _cleanup_outcome(value: CleanupOutcome) -> task_pb2.CleanupOutcome:
    message = task_pb2.CleanupOutcome(timed_out=value.timed_out)
    if value.code is not None:
        message.exit_code = value.code
    elif value.signal is not None:
        message.signal = value.signal
    elif value.failure is not None:
        message.launch_failure.CopyFrom(_failure(value.failure))
    return message


def _usage(value: Usage) -> task_pb2.ResourceUsage:
    return task_pb2.ResourceUsage(
        user_time=_seconds(value.user_seconds),
        system_time=_seconds(value.system_seconds),
        max_resident_bytes=value.max_resident_bytes,
    )


def _failure(value: LaunchFailure) -> task_pb2.LaunchFailure:
    return task_pb2.LaunchFailure(
        error_number=value.error_number,
        error_name=_errno_name(value.error_number),
        phase=_PHASE[value.phase],
        path=value.path,
    )


def _errno_name(number: int) -> str:
    return errno.errorcode.get(number, "")


def _survivors(values: Iterable[Survivor]) -> list[task_pb2.Survivor]:
    return [task_pb2.Survivor(pid=each.pid, name=each.name, reason=each.reason) for each in values]


def _times(value: Times) -> task_pb2.TaskTimes:
    return task_pb2.TaskTimes(
        created=moment(value.created),
        started=moment(value.started),
        stop_requested=moment(value.stop_requested),
        signalled=moment(value.signalled),
        killed=moment(value.killed),
        leader_exited=moment(value.leader_exited),
        ended=moment(value.ended),
    )


def _seconds(value: float) -> Duration:
    return Duration(seconds=int(value), nanos=int(value % 1 * 1e9))
