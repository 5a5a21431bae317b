"""A handle that feels like Popen, and where it may not."""

from __future__ import annotations

from datetime import timedelta

import pytest
from google.protobuf.duration_pb2 import Duration
from support.scripted_link import ScriptedLink

from farspawn import LaunchFailedError, LaunchPhase, StopPlan, TaskLostError, TaskNotFoundError, TaskNotRunningError
from farspawn import _verbs as verbs
from farspawn import _wire as wire
from farspawn._blocking import run
from farspawn._handle import Handle
from farspawn.v1 import launcher_pb2 as pb
from farspawn.v1 import task_pb2

RUNNING = task_pb2.TaskStatus(task_id="a", uid="u1", state=task_pb2.TASK_STATE_RUNNING, revision=1, pid=7)
EXITED = task_pb2.TaskStatus(
    task_id="a", uid="u1", state=task_pb2.TASK_STATE_EXITED, revision=2, pid=7, outcome=task_pb2.Outcome(exit_code=3)
)
FAILED = task_pb2.TaskStatus(
    task_id="a",
    uid="u1",
    state=task_pb2.TASK_STATE_FAILED,
    revision=2,
    outcome=task_pb2.Outcome(
        launch_failure=task_pb2.LaunchFailure(error_number=13, phase=task_pb2.LAUNCH_PHASE_PROGRAM, path="/etc/passwd")
    ),
)
LOST = task_pb2.TaskStatus(
    task_id="a",
    uid="u1",
    state=task_pb2.TASK_STATE_LOST,
    revision=2,
    outcome=task_pb2.Outcome(message="the host was rebooted"),
)


def poll(status: task_pb2.TaskStatus) -> pb.PollResponse:
    return pb.PollResponse(statuses=[status], revision=status.revision)


def launched(link: ScriptedLink, lease: task_pb2.Lease | None = None) -> Handle:
    task = task_pb2.Task(status=RUNNING, spec=task_pb2.TaskSpec(argv=["x", "y"], lease=lease))
    return Handle(link, "a", verbs.Launched(wire.task_from_wire(task), created=True))


def test_a_living_task_has_no_return_code() -> None:
    handle = launched(ScriptedLink(poll(RUNNING)))

    assert run(handle._poll()) is None
    assert (handle.returncode, handle.pid, handle.args, handle.created) == (None, 7, ("x", "y"), True)


def test_an_ended_task_is_not_asked_for_again() -> None:
    handle = launched(ScriptedLink(poll(EXITED)))

    assert run(handle._wait(None)) == 3
    assert (run(handle._poll()), run(handle._wait(None)), handle.returncode) == (3, 3, 3)


def test_a_task_that_could_not_be_started_has_no_return_code() -> None:
    handle = launched(ScriptedLink(poll(FAILED)))

    with pytest.raises(LaunchFailedError, match="/etc/passwd: Permission denied") as failure:
        run(handle._poll())

    assert (failure.value.errno, failure.value.phase) == (13, LaunchPhase.PROGRAM)
    assert handle.returncode is None


def test_a_lost_task_has_no_return_code() -> None:
    handle = launched(ScriptedLink(poll(LOST)))

    with pytest.raises(TaskLostError, match="the host was rebooted"):
        run(handle._wait(None))

    assert handle.returncode is None


def test_an_ending_that_only_a_newer_client_knows_is_not_taken_for_life() -> None:
    unknown = task_pb2.TaskStatus(
        task_id="a", uid="u1", state=task_pb2.TASK_STATE_EXITED, revision=2, outcome=task_pb2.Outcome()
    )
    handle = launched(ScriptedLink(poll(unknown)))

    with pytest.raises(TaskLostError):
        run(handle._poll())


def test_another_task_under_the_same_id_is_not_this_one() -> None:
    other = task_pb2.TaskStatus(task_id="a", uid="u2", state=task_pb2.TASK_STATE_RUNNING, revision=9)
    handle = launched(ScriptedLink(poll(other)))

    with pytest.raises(TaskNotFoundError):
        run(handle._poll())


def test_old_news_change_nothing() -> None:
    handle = launched(ScriptedLink(pb.StopTaskResponse(status=EXITED), pb.StopTaskResponse(status=RUNNING)))
    run(handle._stop(None))

    run(handle._stop(None))

    assert handle.returncode == 3


def test_whoever_launched_with_a_lease_renews_it_while_waiting() -> None:
    link = ScriptedLink(poll(RUNNING), poll(EXITED))
    handle = launched(link, lease=task_pb2.Lease(ttl=Duration(seconds=9)))

    run(handle._wait(None))

    for request in link.asked:
        assert isinstance(request, pb.PollRequest)
        assert request.renew_leases
        assert request.wait.ToTimedelta() == timedelta(seconds=3)


def test_a_lease_that_the_site_gave_is_renewed_too() -> None:
    link = ScriptedLink(poll(RUNNING), poll(EXITED))

    run(launched(link)._wait(None))

    assert [request.renew_leases for request in link.asked if isinstance(request, pb.PollRequest)] == [True, True]


def test_a_template_may_have_a_check_that_nobody_told() -> None:
    ready = task_pb2.TaskStatus(task_id="a", uid="u1", state=task_pb2.TASK_STATE_RUNNING, revision=2, ready=True)
    task = task_pb2.Task(status=RUNNING, spec=task_pb2.TaskSpec(template="train"))
    handle = Handle(ScriptedLink(poll(ready)), "a", verbs.Launched(wire.task_from_wire(task), created=True))

    run(handle._wait_ready(None))

    assert handle.ready
    with pytest.raises(ValueError, match="without a readiness check"):
        run(launched(ScriptedLink())._wait_ready(None))


def test_whoever_only_looks_renews_nothing() -> None:
    link = ScriptedLink(poll(RUNNING))
    handle = Handle(link, "a")

    run(handle._poll())

    assert link.asked == [pb.PollRequest(task_ids=["a"])]


def test_a_signal_to_an_ended_task_is_no_error() -> None:
    link = ScriptedLink(TaskNotRunningError("it has ended"))

    run(launched(link)._send_signal(15))

    assert len(link.asked) == 1


def test_a_stop_by_the_tasks_own_plan_sends_none() -> None:
    link = ScriptedLink(pb.StopTaskResponse(status=RUNNING), pb.StopTaskResponse(status=RUNNING))
    handle = launched(link)

    run(handle._stop(None))
    run(handle._stop(StopPlan()))

    assert link.asked == [pb.StopTaskRequest(task_id="a")] * 2
