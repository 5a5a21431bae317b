"""Leases kept alive, and what is told if they were not."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest
from support.scripted_link import Held, ScriptedLink

from farspawn import Client, LeaseExpiredError, SiteUnreachableError, TaskNotFoundError
from farspawn._blocking import iterate
from farspawn._leases import _Keeping
from farspawn.v1 import launcher_pb2 as pb
from farspawn.v1 import task_pb2

DOWN = SiteUnreachableError("down")


def status(task_id: str, revision: int, cause: task_pb2.Cause.ValueType | None = None) -> task_pb2.TaskStatus:
    state = task_pb2.TASK_STATE_RUNNING if cause is None else task_pb2.TASK_STATE_EXITED
    outcome = None if cause is None else task_pb2.Outcome(signal=15, cause=cause)
    return task_pb2.TaskStatus(task_id=task_id, uid=f"u-{task_id}", state=state, revision=revision, outcome=outcome)


def polled(revision: int, *statuses: task_pb2.TaskStatus, unknown: tuple[str, ...] = ()) -> pb.PollResponse:
    return pb.PollResponse(statuses=statuses, unknown_task_ids=unknown, revision=revision)


def test_leases_of_tasks_are_renewed_until_they_have_ended() -> None:
    link = ScriptedLink(
        polled(5, status("a", 4), status("b", 5)),
        Held(9, polled(6, status("a", 6, task_pb2.CAUSE_COMPLETED))),
        Held(9, polled(7, status("b", 7, task_pb2.CAUSE_LEASE_EXPIRED))),
    )
    keeping = _Keeping(["a", "b"], None)

    assert len(list(iterate(keeping._renewals(link)))) == 1

    polls = [request for request in link.asked if isinstance(request, pb.PollRequest)]
    assert all(request.renew_leases for request in polls)
    assert [list(request.task_ids) for request in polls] == [["a", "b"], ["a", "b"], ["b"]]
    assert [task.task_id for task in keeping.expired] == ["b"]
    with pytest.raises(LeaseExpiredError, match="not renewed in time: b"):
        keeping._tell()


def test_patience_with_an_absent_site_has_no_end() -> None:
    link = ScriptedLink(polled(5, status("a", 4)), *[DOWN] * 999, polled(9, status("a", 9, task_pb2.CAUSE_COMPLETED)))
    keeping = _Keeping(["a"], None)

    list(iterate(keeping._renewals(link)))
    keeping._tell()

    assert sum(link.slept) > link.patience.total_seconds()
    assert max(link.slept) < 1  # the shortest lease


def test_a_task_that_never_was_is_an_error_and_one_that_was_deleted_is_not() -> None:
    never, deleted = _Keeping(["a"], None), _Keeping(["a"], None)

    with pytest.raises(TaskNotFoundError):
        list(iterate(never._renewals(ScriptedLink(polled(5, unknown=("a",))))))

    list(iterate(deleted._renewals(ScriptedLink(polled(5, status("a", 4)), polled(6, unknown=("a",))))))


def test_a_watch_renews_what_has_the_labels_and_tells_what_expired_since() -> None:
    def changed(task_id: str, cause: task_pb2.Cause.ValueType | None = None) -> pb.WatchTasksResponse:
        return pb.WatchTasksResponse(changed=status(task_id, 9, cause))

    checkpoint = pb.WatchTasksResponse(checkpoint=pb.WatchTasksResponse.Checkpoint(revision=5))
    expired = changed("b", task_pb2.CAUSE_LEASE_EXPIRED)
    link = ScriptedLink(
        [changed("old", task_pb2.CAUSE_LEASE_EXPIRED), changed("b"), checkpoint, expired, DOWN],
        [expired, checkpoint, PermissionError("the script is over")],
    )
    keeping = _Keeping(None, {"round": "3"})

    with closing(iterate(keeping._renewals(link))) as renewals, pytest.raises(PermissionError):
        list(renewals)

    watches = [request for request in link.asked if isinstance(request, pb.WatchTasksRequest)]
    assert [(request.renew_leases, dict(request.filter.labels)) for request in watches] == [(True, {"round": "3"})] * 2
    assert [task.task_id for task in keeping.expired] == ["b"]


def test_whose_leases_has_to_be_said(tmp_path: Path) -> None:
    with Client(f"unix:{tmp_path}/s") as site:
        with pytest.raises(ValueError, match="by task ids or by labels"):
            site.keep_leases()
        with pytest.raises(ValueError, match="by task ids or by labels"):
            site.keep_leases(["a"], labels={})


def test_a_site_that_is_not_there_is_an_error_at_once(tmp_path: Path) -> None:
    with Client(f"unix:{tmp_path}/s") as site, pytest.raises(SiteUnreachableError), site.keep_leases(["a"]):
        pass
