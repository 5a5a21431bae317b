"""From a spec to its message."""

from __future__ import annotations

from datetime import timedelta

from google.protobuf.duration_pb2 import Duration

from farspawn.v1 import task_pb2
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

_LEASE_ACTION: dict[LeaseAction, task_pb2.LeaseAction.ValueType] = {
    LeaseAction.STOP: task_pb2.LEASE_ACTION_STOP,
    LeaseAction.KILL: task_pb2.LEASE_ACTION_KILL,
}
_STOP_SCOPE: dict[StopScope | None, task_pb2.StopScope.ValueType] = {
    None: task_pb2.STOP_SCOPE_UNSPECIFIED,
    StopScope.TREE: task_pb2.STOP_SCOPE_TREE,
    StopScope.LEADER: task_pb2.STOP_SCOPE_LEADER,
}
_RESTART_MODE: dict[RestartMode, task_pb2.RestartMode.ValueType] = {
    RestartMode.NEVER: task_pb2.RESTART_MODE_NEVER,
    RestartMode.ON_FAILURE: task_pb2.RESTART_MODE_ON_FAILURE,
    RestartMode.ALWAYS: task_pb2.RESTART_MODE_ALWAYS,
}


def spec(value: Spec) -> task_pb2.TaskSpec:
    """Write what was asked for."""
    return task_pb2.TaskSpec(
        argv=value.argv,
        env=value.env,
        working_directory=value.working_directory,
        stop=_stop_plan(value.stop),
        max_runtime=span(value.max_runtime),
        lease=None if value.lease is None else _lease(value.lease),
        labels=value.labels,
        restart=None if value.restart == RestartPolicy() else _restart(value.restart),
        cleanup=None if value.cleanup is None else _cleanup(value.cleanup),
        open_input=value.open_input,
        readiness=None if value.readiness is None else _readiness(value.readiness),
        template=value.template,
        parameters=value.parameters,
        template_revision=value.template_revision,
        resources=None if value.resources == Resources() else resources(value.resources),
        merge_output=value.merge_output,
    )


def resources(value: Resources) -> task_pb2.Resources:
    """Write what a task may use."""
    return task_pb2.Resources(
        address_space_bytes=value.address_space_bytes,
        cpu_time=span(timedelta(seconds=value.cpu_seconds)) if value.cpu_seconds else None,
        open_files=value.open_files,
        processes=value.processes,
        memory_bytes=value.memory_bytes,
        niceness=value.niceness,
        log_bytes=value.log_bytes,
    )


def _readiness(value: Readiness) -> task_pb2.Readiness:
    message = task_pb2.Readiness()
    if value.log_line is not None:
        message.log_line = value.log_line
    elif value.tcp_port is not None:
        message.tcp_port = value.tcp_port
    elif value.file is not None:
        message.file = value.file
    return message


def _restart(value: RestartPolicy) -> task_pb2.RestartPolicy:
    return task_pb2.RestartPolicy(
        mode=_RESTART_MODE[value.mode],
        max_restarts=value.max_restarts,
        initial_backoff=span(value.initial_backoff),
        max_backoff=span(value.max_backoff),
        healthy_after=span(value.healthy_after),
    )


def _cleanup(value: Cleanup) -> task_pb2.Cleanup:
    return task_pb2.Cleanup(argv=value.argv, timeout=span(value.timeout))


def _stop_plan(value: StopPlan) -> task_pb2.StopPlan | None:
    if value == StopPlan():
        return None
    return task_pb2.StopPlan(
        linger=span(value.linger),
        drain=span(value.drain),
        signal=value.signal or 0,
        grace=span(value.grace),
        scope=_STOP_SCOPE[value.scope],
    )


def _lease(value: Lease) -> task_pb2.Lease:
    return task_pb2.Lease(ttl=span(value.ttl), action=_LEASE_ACTION[value.action])


def span(value: timedelta | None) -> Duration | None:
    """Write a span."""
    if value is None:
        return None
    message = Duration()
    message.FromTimedelta(value)
    return message
