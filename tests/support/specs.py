"""Tasks with more than a command: short forms of the rest of a spec."""

from __future__ import annotations

from collections.abc import Sequence

from farspawn.v1 import launcher_pb2 as pb
from farspawn.v1 import site_pb2, task_pb2
from farspawn.v1.launcher_pb2_grpc import TaskLauncherStub
from support.tasks import new_id, span, status_of
from support.waiting import PATIENCE, until

NEVER = task_pb2.RESTART_MODE_NEVER
ON_FAILURE = task_pb2.RESTART_MODE_ON_FAILURE
ALWAYS = task_pb2.RESTART_MODE_ALWAYS

_FOR_EVER = 3600.0


def start(stub: TaskLauncherStub, spec: task_pb2.TaskSpec, task_id: str = "") -> task_pb2.TaskStatus:
    """Launch a task of this spec and return how it is."""
    request = pb.LaunchTaskRequest(task_id=task_id or new_id(), spec=spec)
    return stub.LaunchTask(request, timeout=PATIENCE).task.status


def restart(
    mode: task_pb2.RestartMode.ValueType,
    *,
    most: int = 0,
    first: float = 0.01,
    longest: float = 0.02,
    healthy: float = _FOR_EVER,
) -> task_pb2.RestartPolicy:
    """Return a restart policy, spans in seconds, that loses no time unless it is told to."""
    return task_pb2.RestartPolicy(
        mode=mode,
        max_restarts=most,
        initial_backoff=span(first),
        max_backoff=span(longest),
        healthy_after=span(healthy),
    )


def cleanup(argv: Sequence[str], timeout: float = 60.0) -> task_pb2.Cleanup:
    """Return a cleanup command."""
    return task_pb2.Cleanup(argv=argv, timeout=span(timeout))


def until_state(stub: TaskLauncherStub, task_id: str, state: task_pb2.TaskState.ValueType) -> task_pb2.TaskStatus:
    """Wait until a task is in this state, and return how it is."""

    def reached() -> task_pb2.TaskStatus | None:
        now = status_of(stub, task_id)
        return now if now.state == state else None

    status = until(reached)
    assert status is not None
    return status


def output_of_attempt(
    stub: TaskLauncherStub,
    task_id: str,
    attempt: int,
    stream: pb.LogStream.ValueType = pb.LOG_STREAM_STDOUT,
) -> bytes:
    """Return what one attempt has written so far."""
    request = pb.ReadLogsRequest(task_id=task_id, attempt=attempt, stream=stream)
    return b"".join(part.chunk.data for part in stub.ReadLogs(request, timeout=PATIENCE))


def until_serving(stub: TaskLauncherStub) -> None:
    """Wait until a site takes tasks."""

    def serves() -> bool:
        site = stub.GetSite(pb.GetSiteRequest(), wait_for_ready=True, timeout=PATIENCE).site
        return site.state == site_pb2.SITE_STATE_SERVING

    until(serves, every=0.02)
