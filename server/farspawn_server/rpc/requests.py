"""From messages to values. A message can be odd in ways that a value cannot: that is refused here, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import TypeVar

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message

from farspawn.v1 import launcher_pb2, task_pb2
from farspawn_server.logs import CHUNK_BYTES, Output
from farspawn_server.rpc.unknown import refuse_unknown_fields
from farspawn_server.supervisor import InputPart
from farspawn_server.supervisor.log_stream import Start
from farspawn_server.supervisor.registry import Filter
from farspawn_server.task import rules
from farspawn_server.task.errors import SpecInvalidError, Violation
from farspawn_server.task.outcome import State
from farspawn_server.task.spec import (
    Cleanup,
    Lease,
    LeaseAction,
    Readiness,
    Resources,
    RestartMode,
    RestartPolicy,
    Spec,
    StopPlan,
    StopScope,
)

_T = TypeVar("_T")

# timedelta holds about 2.7 million years; protobuf's Duration 10,000. Ours is far below both, see task.rules.
_MOST_SECONDS = 315_576_000_000
_NANOS = 1_000_000_000
_MOST_STATES = 64  # more than there are

_STATES: dict[int, State] = {
    task_pb2.TASK_STATE_PENDING: State.PENDING,
    task_pb2.TASK_STATE_STARTING: State.STARTING,
    task_pb2.TASK_STATE_RUNNING: State.RUNNING,
    task_pb2.TASK_STATE_STOPPING: State.STOPPING,
    task_pb2.TASK_STATE_EXITED: State.EXITED,
    task_pb2.TASK_STATE_FAILED: State.FAILED,
    task_pb2.TASK_STATE_LOST: State.LOST,
}
_LEASE_ACTIONS: dict[int, LeaseAction] = {
    task_pb2.LEASE_ACTION_UNSPECIFIED: LeaseAction.STOP,
    task_pb2.LEASE_ACTION_STOP: LeaseAction.STOP,
    task_pb2.LEASE_ACTION_KILL: LeaseAction.KILL,
}
_STOP_SCOPES: dict[int, StopScope | None] = {
    task_pb2.STOP_SCOPE_UNSPECIFIED: None,
    task_pb2.STOP_SCOPE_TREE: StopScope.TREE,
    task_pb2.STOP_SCOPE_LEADER: StopScope.LEADER,
}
_RESTART_MODES: dict[int, RestartMode] = {
    task_pb2.RESTART_MODE_UNSPECIFIED: RestartMode.NEVER,
    task_pb2.RESTART_MODE_NEVER: RestartMode.NEVER,
    task_pb2.RESTART_MODE_ON_FAILURE: RestartMode.ON_FAILURE,
    task_pb2.RESTART_MODE_ALWAYS: RestartMode.ALWAYS,
}
_OUTPUTS: dict[int, Output] = {
    launcher_pb2.LOG_STREAM_UNSPECIFIED: Output.STDOUT,
    launcher_pb2.LOG_STREAM_STDOUT: Output.STDOUT,
    launcher_pb2.LOG_STREAM_STDERR: Output.STDERR,
}
_TREE: dict[int, bool] = {
    launcher_pb2.SIGNAL_SCOPE_UNSPECIFIED: False,
    launcher_pb2.SIGNAL_SCOPE_LEADER: False,
    launcher_pb2.SIGNAL_SCOPE_TREE: True,
}


def launch(message: launcher_pb2.LaunchTaskRequest) -> tuple[str, Spec, Mapping[str, str]]:
    """Read the id, what to run, and its secrets. What is too many is refused before each is looked at."""
    asked = message.spec
    given = (asked.argv, asked.env, asked.parameters, asked.cleanup.argv, message.secrets)
    rules.refuse_too_many_strings(sum(map(len, given)))
    rules.refuse_too_many_labels(asked.labels, "spec.labels")
    refuse_unknown_fields(message, "")
    return message.task_id, spec(asked), dict(message.secrets)


def spec(message: task_pb2.TaskSpec) -> Spec:
    """Read what to run."""
    lease = None
    if message.HasField("lease"):
        ttl = _span(message.lease, "ttl", "spec.lease")
        if ttl is None:
            raise _bad("spec.lease.ttl", "give the span within which the lease is renewed")
        lease = Lease(ttl, _value(_LEASE_ACTIONS, message.lease.action, "spec.lease.action"))
    return Spec(
        argv=tuple(message.argv),
        env=dict(message.env),
        working_directory=message.working_directory or "/",
        stop=stop_plan(message.stop, "spec.stop"),
        max_runtime=_span(message, "max_runtime", "spec"),
        lease=lease,
        labels=dict(message.labels),
        restart=_restart(message.restart),
        cleanup=_cleanup(message.cleanup) if message.HasField("cleanup") else None,
        open_input=message.open_input,
        readiness=_readiness(message.readiness) if message.HasField("readiness") else None,
        template=message.template,
        parameters=dict(message.parameters),
        template_revision=message.template_revision,
        resources=_resources(message.resources) if message.HasField("resources") else Resources(),
        merge_output=message.merge_output,
    )


def _resources(message: task_pb2.Resources) -> Resources:
    cpu_time = _span_or(message, "cpu_time", "spec.resources", timedelta(0))
    return Resources(
        address_space_bytes=message.address_space_bytes,
        cpu_seconds=-(-cpu_time // timedelta(seconds=1)),
        open_files=message.open_files,
        processes=message.processes,
        memory_bytes=message.memory_bytes,
        niceness=message.niceness,
        log_bytes=message.log_bytes,
    )


def _readiness(message: task_pb2.Readiness) -> Readiness:
    match message.WhichOneof("check"):
        case "log_line":
            return Readiness(log_line=message.log_line)
        case "tcp_port":
            return Readiness(tcp_port=message.tcp_port)
        case "file":
            return Readiness(file=message.file)
        case _:
            return Readiness()


def _restart(message: task_pb2.RestartPolicy) -> RestartPolicy:
    default = RestartPolicy()
    return RestartPolicy(
        mode=_value(_RESTART_MODES, message.mode, "spec.restart.mode"),
        max_restarts=message.max_restarts,
        initial_backoff=_span_or(message, "initial_backoff", "spec.restart", default.initial_backoff),
        max_backoff=_span_or(message, "max_backoff", "spec.restart", default.max_backoff),
        healthy_after=_span_or(message, "healthy_after", "spec.restart", default.healthy_after),
    )


def _cleanup(message: task_pb2.Cleanup) -> Cleanup:
    timeout = _span_or(message, "timeout", "spec.cleanup", Cleanup(()).timeout)
    return Cleanup(tuple(message.argv), timeout)


def stop_plan(message: task_pb2.StopPlan, field: str) -> StopPlan:
    """Read how to stop."""
    refuse_unknown_fields(message, field)
    return StopPlan(
        linger=_span(message, "linger", field),
        drain=_span(message, "drain", field),
        signal=message.signal or None,
        grace=_span(message, "grace", field),
        scope=_value(_STOP_SCOPES, message.scope, f"{field}.scope"),
    )


def wait(message: launcher_pb2.PollRequest) -> timedelta:
    """Read how long to wait."""
    span = _span(message, "wait", "")
    if span is not None and span < timedelta(0):
        raise _bad("wait", "a span is not negative")
    return span or timedelta(0)


def task_filter(message: launcher_pb2.TaskFilter) -> Filter:
    """Read which tasks are meant."""
    if len(message.states) > _MOST_STATES:
        raise _bad("filter.states", f"{len(message.states)} states, at most {_MOST_STATES}")
    rules.refuse_too_many_labels(message.labels, "filter.labels")
    return Filter(
        states=frozenset(_value(_STATES, number, "filter.states") for number in message.states),
        labels=dict(message.labels),
        owner=message.owner,
    )


def page_size(message: launcher_pb2.ListTasksRequest) -> int:
    """Read how many are wanted."""
    if message.page_size < 0:
        raise _bad("page_size", "a number of tasks is not negative")
    return min(message.page_size, 1000) or 100


def output(message: launcher_pb2.ReadLogsRequest) -> Output:
    """Read which output is meant."""
    return _value(_OUTPUTS, message.stream, "stream")


def log_start(message: launcher_pb2.ReadLogsRequest) -> Start:
    """Read where to begin."""
    return Start(
        offset=message.offset if message.HasField("offset") else None,
        tail_lines=message.tail_lines if message.HasField("tail_lines") else None,
        since=message.since.seconds if message.HasField("since") else None,
    )


def input_part(message: launcher_pb2.WriteInputRequest) -> InputPart:
    """Read what to write."""
    if len(message.data) > CHUNK_BYTES:
        raise _bad("data", f"{len(message.data)} bytes, at most {CHUNK_BYTES}: send more messages")
    return InputPart(message.offset, message.data, message.end_of_input)


def whole_tree(message: launcher_pb2.SignalTaskRequest) -> bool:
    """Read which processes are meant."""
    return _value(_TREE, message.scope, "scope")


def _value(known: dict[int, _T], number: int, field: str) -> _T:
    if number not in known:
        raise _bad(field, f"{number} is not known to this site; known: {', '.join(map(str, sorted(known)))}")
    return known[number]


def _span_or(message: Message, name: str, field: str, default: timedelta) -> timedelta:
    span = _span(message, name, field)
    return default if span is None else span


def _span(message: Message, name: str, field: str) -> timedelta | None:
    if not message.HasField(name):
        return None
    span: Duration = getattr(message, name)
    if abs(span.seconds) > _MOST_SECONDS or abs(span.nanos) >= _NANOS or span.seconds * span.nanos < 0:
        raise _bad(f"{field}.{name}".lstrip("."), "not a valid google.protobuf.Duration")
    # Away from zero, which has a meaning of its own: neither a short span nor a negative one becomes it.
    microseconds = span.nanos // 1000 if span.nanos < 0 else -(-span.nanos // 1000)
    return timedelta(seconds=span.seconds, microseconds=microseconds)


def _bad(field: str, description: str) -> SpecInvalidError:
    return SpecInvalidError([Violation(field, description)])
