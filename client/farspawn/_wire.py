"""Between the values of this library and the messages of the contract.

Whether a field is set is asked before it is read: an unset number reads as
zero, and a task killed by a signal has not exited with code 0.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from farspawn import _values as values
from farspawn.v1 import launcher_pb2, site_pb2, task_pb2


def span_to_wire(span: timedelta | None) -> Duration | None:
    """Unset stays unset: it means the default, and zero does not."""
    if span is None:
        return None
    duration = Duration()
    duration.FromTimedelta(span)
    return duration


def _moment(moment: Timestamp | None) -> datetime | None:
    return moment.ToDatetime(tzinfo=UTC) if moment is not None else None


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
    )


def plan_from_wire(plan: task_pb2.StopPlan) -> values.StopPlan:
    """A stop plan as the site tells it."""
    return values.StopPlan(
        linger=plan.linger.ToTimedelta() if plan.HasField("linger") else None,
        drain=plan.drain.ToTimedelta() if plan.HasField("drain") else None,
        signal=plan.signal or None,
        grace=plan.grace.ToTimedelta() if plan.HasField("grace") else None,
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


def task_from_wire(task: task_pb2.Task) -> values.Task:
    """A task as the site tells it."""
    return values.Task(
        status=status_from_wire(task.status),
        spec=spec_from_wire(task.spec),
        owner=task.owner,
        spec_digest=task.spec_digest,
    )


def status_from_wire(status: task_pb2.TaskStatus) -> values.TaskStatus:
    """What changes about a task."""
    return values.TaskStatus(
        task_id=status.task_id,
        uid=status.uid,
        state=values.TaskState(status.state),
        revision=status.revision,
        attempt=status.attempt,
        pid=status.pid or None,
        times=_times(status.times),
        outcome=outcome_from_wire(status.outcome) if status.HasField("outcome") else None,
    )


def _times(times: task_pb2.TaskTimes) -> values.TaskTimes:
    return values.TaskTimes(
        created=_moment(times.created if times.HasField("created") else None),
        started=_moment(times.started if times.HasField("started") else None),
        stop_requested=_moment(times.stop_requested if times.HasField("stop_requested") else None),
        signalled=_moment(times.signalled if times.HasField("signalled") else None),
        killed=_moment(times.killed if times.HasField("killed") else None),
        leader_exited=_moment(times.leader_exited if times.HasField("leader_exited") else None),
        ended=_moment(times.ended if times.HasField("ended") else None),
    )


def outcome_from_wire(outcome: task_pb2.Outcome) -> values.Outcome:
    """How a task ended."""
    ending = outcome.WhichOneof("ending")
    return values.Outcome(
        exit_code=outcome.exit_code if ending == "exit_code" else None,
        signal=outcome.signal if ending == "signal" else None,
        core_dumped=outcome.core_dumped,
        oom_killed=outcome.oom_killed if outcome.HasField("oom_killed") else None,
        cause=values.Cause(outcome.cause),
        stopped_by=outcome.stopped_by,
        message=outcome.message,
        usage=_usage(outcome.usage) if outcome.HasField("usage") else None,
        survivors=tuple(values.Survivor(left.pid, left.name, left.reason) for left in outcome.survivors),
        launch_failure=_failure(outcome.launch_failure) if outcome.HasField("launch_failure") else None,
    )


def _usage(usage: task_pb2.ResourceUsage) -> values.ResourceUsage:
    return values.ResourceUsage(
        user_time=usage.user_time.ToTimedelta(),
        system_time=usage.system_time.ToTimedelta(),
        max_resident_bytes=usage.max_resident_bytes,
    )


def _failure(failure: task_pb2.LaunchFailure) -> values.LaunchFailure:
    return values.LaunchFailure(
        error_number=failure.error_number,
        error_name=failure.error_name,
        phase=values.LaunchPhase(failure.phase),
        path=failure.path,
    )


def poll_from_wire(answer: launcher_pb2.PollResponse) -> values.PollAnswer:
    """How tasks are."""
    return values.PollAnswer(
        statuses=tuple(status_from_wire(status) for status in answer.statuses),
        unknown_task_ids=tuple(answer.unknown_task_ids),
        revision=answer.revision,
    )


def event_from_wire(answer: launcher_pb2.WatchTasksResponse) -> values.WatchEvent | None:
    """What a watch tells; None: a newer site tells something unknown to this client."""
    match answer.WhichOneof("event"):
        case "changed":
            return values.TaskChanged(status_from_wire(answer.changed))
        case "deleted_uid":
            return values.TaskDeleted(answer.deleted_uid)
        case "checkpoint":
            return values.Checkpoint(answer.checkpoint.revision)
        case None:
            return None


def site_from_wire(site: site_pb2.Site) -> values.Site:
    """What a site is."""
    return values.Site(
        name=site.name,
        version=site.version,
        state=values.SiteState(site.state),
        boot_id=site.boot_id,
        server_started=_moment(site.server_started if site.HasField("server_started") else None),
        keeper_started=_moment(site.keeper_started if site.HasField("keeper_started") else None),
        containment=tuple(values.ContainmentTier(tier) for tier in site.containment),
        limits=values.Limits(
            max_live_tasks=site.limits.max_live_tasks,
            max_command_bytes=site.limits.max_command_bytes,
            max_poll_tasks=site.limits.max_poll_tasks,
        ),
        load=values.Load(live_tasks=site.load.live_tasks, ended_tasks=site.load.ended_tasks),
        revision=site.revision,
    )
