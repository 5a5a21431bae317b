"""What a caller asks for, between the values of this library and the messages of the contract.

Both ways: a site tells what was asked. Unset stays unset, for it means the
default, and zero does not.
"""

from collections.abc import Iterable, Mapping
from datetime import timedelta

from google.protobuf.duration_pb2 import Duration

from farspawn import _values as values
from farspawn.v1 import launcher_pb2, task_pb2


def span_to_wire(span: timedelta | None) -> Duration | None:
    """A span; None is unset."""
    if span is None:
        return None
    duration = Duration()
    duration.FromTimedelta(span)
    return duration


def spec_to_wire(spec: values.TaskSpec) -> task_pb2.TaskSpec:
    """A spec as the site reads it."""
    lease = spec.lease
    return task_pb2.TaskSpec(
        argv=spec.argv,
        env=spec.env,
        working_directory=spec.working_directory,
        stop=plan_to_wire(spec.stop),
        max_runtime=span_to_wire(spec.max_runtime),
        lease=lease_to_wire(lease) if lease is not None else None,
        labels=spec.labels,
        restart=_restart_to_wire(spec.restart) if spec.restart is not None else None,
        cleanup=_cleanup_to_wire(spec.cleanup) if spec.cleanup is not None else None,
        open_input=spec.open_input,
        readiness=_readiness_to_wire(spec.readiness) if spec.readiness is not None else None,
        template=spec.template,
        parameters=spec.parameters,
        template_revision=spec.template_revision,
        resources=_resources_to_wire(spec.resources),
        merge_output=spec.merge_output,
    )


def spec_from_wire(spec: task_pb2.TaskSpec) -> values.TaskSpec:
    """A spec as the site tells it."""
    return values.TaskSpec(
        argv=tuple(spec.argv),
        env=dict(spec.env),
        working_directory=spec.working_directory,
        stop=plan_from_wire(spec.stop),
        max_runtime=spec.max_runtime.ToTimedelta() if spec.HasField("max_runtime") else None,
        lease=lease_from_wire(spec.lease) if spec.HasField("lease") else None,
        labels=dict(spec.labels),
        restart=_restart_from_wire(spec.restart) if spec.HasField("restart") else None,
        cleanup=_cleanup_from_wire(spec.cleanup) if spec.HasField("cleanup") else None,
        open_input=spec.open_input,
        readiness=_readiness_from_wire(spec.readiness) if spec.HasField("readiness") else None,
        template=spec.template,
        parameters=dict(spec.parameters),
        template_revision=spec.template_revision,
        resources=resources_from_wire(spec.resources),
        merge_output=spec.merge_output,
    )


def _restart_to_wire(restart: values.RestartPolicy) -> task_pb2.RestartPolicy:
    return task_pb2.RestartPolicy(
        mode=task_pb2.RestartMode.ValueType(restart.mode),
        max_restarts=restart.max_restarts,
        initial_backoff=span_to_wire(restart.initial_backoff),
        max_backoff=span_to_wire(restart.max_backoff),
        healthy_after=span_to_wire(restart.healthy_after),
    )


def _restart_from_wire(restart: task_pb2.RestartPolicy) -> values.RestartPolicy:
    return values.RestartPolicy(
        mode=values.RestartMode(restart.mode),
        max_restarts=restart.max_restarts,
        initial_backoff=restart.initial_backoff.ToTimedelta() if restart.HasField("initial_backoff") else None,
        max_backoff=restart.max_backoff.ToTimedelta() if restart.HasField("max_backoff") else None,
        healthy_after=restart.healthy_after.ToTimedelta() if restart.HasField("healthy_after") else None,
    )


def _cleanup_to_wire(cleanup: values.Cleanup) -> task_pb2.Cleanup:
    return task_pb2.Cleanup(argv=cleanup.argv, timeout=span_to_wire(cleanup.timeout))


def _cleanup_from_wire(cleanup: task_pb2.Cleanup) -> values.Cleanup:
    timeout = cleanup.timeout.ToTimedelta() if cleanup.HasField("timeout") else None
    return values.Cleanup(tuple(cleanup.argv), timeout)


def _readiness_to_wire(readiness: values.Readiness) -> task_pb2.Readiness:
    wired = task_pb2.Readiness()
    for field in ("log_line", "tcp_port", "file"):
        if (check := getattr(readiness, field)) is not None:
            setattr(wired, field, check)
    return wired


def _readiness_from_wire(readiness: task_pb2.Readiness) -> values.Readiness:
    check = readiness.WhichOneof("check")
    return values.Readiness(
        log_line=readiness.log_line if check == "log_line" else None,
        tcp_port=readiness.tcp_port if check == "tcp_port" else None,
        file=readiness.file if check == "file" else None,
    )


def _resources_to_wire(resources: values.Resources) -> task_pb2.Resources | None:
    if resources == values.Resources():
        return None
    return task_pb2.Resources(
        address_space_bytes=resources.address_space_bytes,
        cpu_time=span_to_wire(resources.cpu_time),
        open_files=resources.open_files,
        processes=resources.processes,
        memory_bytes=resources.memory_bytes,
        niceness=resources.niceness,
        log_bytes=resources.log_bytes,
    )


def resources_from_wire(resources: task_pb2.Resources) -> values.Resources:
    """What a task may use, as the site tells it."""
    return values.Resources(
        address_space_bytes=resources.address_space_bytes,
        cpu_time=resources.cpu_time.ToTimedelta() if resources.HasField("cpu_time") else None,
        open_files=resources.open_files,
        processes=resources.processes,
        memory_bytes=resources.memory_bytes,
        niceness=resources.niceness,
        log_bytes=resources.log_bytes,
    )


def plan_to_wire(plan: values.StopPlan) -> task_pb2.StopPlan | None:
    """A stop plan; one that says nothing is unset."""
    if plan == values.StopPlan():
        return None
    return task_pb2.StopPlan(
        linger=span_to_wire(plan.linger),
        drain=span_to_wire(plan.drain),
        signal=plan.signal or 0,
        grace=span_to_wire(plan.grace),
        scope=task_pb2.StopScope.ValueType(plan.scope),
    )


def plan_from_wire(plan: task_pb2.StopPlan) -> values.StopPlan:
    """A stop plan as the site tells it."""
    return values.StopPlan(
        linger=plan.linger.ToTimedelta() if plan.HasField("linger") else None,
        drain=plan.drain.ToTimedelta() if plan.HasField("drain") else None,
        signal=plan.signal or None,
        grace=plan.grace.ToTimedelta() if plan.HasField("grace") else None,
        scope=values.StopScope(plan.scope),
    )


def lease_to_wire(lease: values.Lease) -> task_pb2.Lease:
    """A lease as the site reads it."""
    return task_pb2.Lease(
        ttl=span_to_wire(lease.ttl),
        action=task_pb2.LeaseAction.ValueType(lease.action),
    )


def lease_from_wire(lease: task_pb2.Lease) -> values.Lease:
    """A lease as the site tells it."""
    return values.Lease(ttl=lease.ttl.ToTimedelta(), action=values.LeaseAction(lease.action))


def filter_to_wire(
    states: Iterable[values.TaskState], labels: Mapping[str, str] | None, owner: str
) -> launcher_pb2.TaskFilter:
    """Which tasks."""
    return launcher_pb2.TaskFilter(
        states=[task_pb2.TaskState.ValueType(state) for state in states],
        labels=labels,
        owner=owner,
    )
