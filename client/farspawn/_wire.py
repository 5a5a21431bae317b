"""What a site answers, from the messages of the contract to the values of this library.

Whether a field is set is asked before it is read: an unset number reads as
zero, and a task killed by a signal has not exited with code 0.
"""

from collections.abc import Iterable
from datetime import UTC, datetime

from google.protobuf.timestamp_pb2 import Timestamp

from farspawn import _values as values
from farspawn._wire_spec import spec_from_wire
from farspawn.v1 import launcher_pb2, task_pb2


def task_from_wire(task: task_pb2.Task) -> values.Task:
    """A task as the site tells it."""
    return values.Task(
        status=status_from_wire(task.status),
        spec=spec_from_wire(task.spec),
        owner=task.owner,
        spec_digest=task.spec_digest,
        template_revision=task.template_revision,
        lease_ttl=task.lease_ttl.ToTimedelta() if task.HasField("lease_ttl") else None,
        max_runtime=task.max_runtime.ToTimedelta() if task.HasField("max_runtime") else None,
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
        ready=status.ready,
        earlier_attempts=tuple(_attempt(attempt) for attempt in status.earlier_attempts),
        unkillable=_survivors(status.unkillable),
        output_error=status.output_error,
    )


def _attempt(attempt: task_pb2.Attempt) -> values.Attempt:
    return values.Attempt(
        number=attempt.number,
        state=values.TaskState(attempt.state),
        times=_times(attempt.times),
        outcome=outcome_from_wire(attempt.outcome),
    )


def _times(times: task_pb2.TaskTimes) -> values.TaskTimes:
    return values.TaskTimes(
        created=moment_from_wire(times.created if times.HasField("created") else None),
        started=moment_from_wire(times.started if times.HasField("started") else None),
        stop_requested=moment_from_wire(times.stop_requested if times.HasField("stop_requested") else None),
        signalled=moment_from_wire(times.signalled if times.HasField("signalled") else None),
        killed=moment_from_wire(times.killed if times.HasField("killed") else None),
        leader_exited=moment_from_wire(times.leader_exited if times.HasField("leader_exited") else None),
        ended=moment_from_wire(times.ended if times.HasField("ended") else None),
    )


def outcome_from_wire(outcome: task_pb2.Outcome) -> values.Outcome:
    """How a task ended."""
    ending = outcome.WhichOneof("ending")
    return values.Outcome(
        exit_code=outcome.exit_code if ending == "exit_code" else None,
        signal=outcome.signal if ending == "signal" else None,
        core_dumped=outcome.core_dumped,
        oom_kill=values.OomKill(outcome.oom_kill),
        cause=values.Cause(outcome.cause),
        stopped_by=outcome.stopped_by,
        message=outcome.message,
        usage=_usage(outcome.usage) if outcome.HasField("usage") else None,
        survivors=_survivors(outcome.survivors),
        launch_failure=_failure(outcome.launch_failure) if outcome.HasField("launch_failure") else None,
        cleanup=_cleanup_outcome(outcome.cleanup) if outcome.HasField("cleanup") else None,
    )


def _survivors(left: Iterable[task_pb2.Survivor]) -> tuple[values.Survivor, ...]:
    return tuple(values.Survivor(each.pid, each.name, each.reason) for each in left)


def _cleanup_outcome(outcome: task_pb2.CleanupOutcome) -> values.CleanupOutcome:
    ending = outcome.WhichOneof("ending")
    return values.CleanupOutcome(
        exit_code=outcome.exit_code if ending == "exit_code" else None,
        signal=outcome.signal if ending == "signal" else None,
        launch_failure=_failure(outcome.launch_failure) if ending == "launch_failure" else None,
        timed_out=outcome.timed_out,
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


def moment_from_wire(moment: Timestamp | None) -> datetime | None:
    """A moment in UTC; None stays None."""
    return moment.ToDatetime(tzinfo=UTC) if moment is not None else None
