"""What takes more than one call, and outlives an agent that is restarted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta

import pytest
from support.scripted_link import Held, ScriptedLink

from farspawn import (
    CallTimeoutError,
    Checkpoint,
    LogChunk,
    LogOffsetExpiredError,
    RecoveringError,
    SiteUnreachableError,
    TaskChanged,
    TaskNotFoundError,
    TaskStatus,
    WaitTimeoutError,
    WatchResumed,
)
from farspawn import _follow as follow
from farspawn._blocking import iterate
from farspawn._logs import LogCursor
from farspawn.v1 import launcher_pb2 as pb
from farspawn.v1 import task_pb2

DOWN = SiteUnreachableError("down")


def exited(task_id: str, revision: int = 0) -> task_pb2.TaskStatus:
    return task_pb2.TaskStatus(
        task_id=task_id, state=task_pb2.TASK_STATE_EXITED, revision=revision, outcome=task_pb2.Outcome(exit_code=0)
    )


def running(task_id: str, revision: int = 0) -> task_pb2.TaskStatus:
    return task_pb2.TaskStatus(task_id=task_id, state=task_pb2.TASK_STATE_RUNNING, revision=revision)


def answer(revision: int, *statuses: task_pb2.TaskStatus) -> pb.PollResponse:
    return pb.PollResponse(statuses=statuses, revision=revision)


def as_ended(
    link: ScriptedLink, *task_ids: str, limit: timedelta | None = None, renew: timedelta | None = None
) -> Iterator[TaskStatus]:
    return iterate(follow.as_ended(link, task_ids, limit, renew))


def polls(link: ScriptedLink) -> list[pb.PollRequest]:
    return [request for request in link.asked if isinstance(request, pb.PollRequest)]


def test_each_task_is_told_once_and_not_asked_for_again() -> None:
    link = ScriptedLink(answer(5, running("a"), exited("b")), Held(3, answer(7, exited("a"))))

    ended = [status.task_id for status in as_ended(link, "a", "b", "a")]

    assert ended == ["b", "a"]
    assert [(list(poll.task_ids), poll.since_revision) for poll in polls(link)] == [(["a", "b"], 0), (["a"], 5)]


def test_a_poll_is_long_and_no_longer_than_the_time_left() -> None:
    link = ScriptedLink(answer(1, running("a")), Held(30, answer(1)), Held(10, answer(1)))

    with pytest.raises(WaitTimeoutError) as over:
        list(as_ended(link, "a", limit=timedelta(seconds=40)))

    assert over.value.task_ids == ("a",)
    assert isinstance(over.value, TimeoutError)
    assert [poll.wait.seconds for poll in polls(link)] == [30, 30, 10]


def test_with_no_time_at_all_one_question_is_asked() -> None:
    link = ScriptedLink(answer(1, exited("a")))

    assert [status.task_id for status in as_ended(link, "a", limit=timedelta())] == ["a"]


def test_leases_are_renewed_as_often_as_was_said() -> None:
    link = ScriptedLink(answer(1, running("a")), Held(2, answer(2, exited("a"))))

    list(as_ended(link, "a", renew=timedelta(seconds=2)))

    assert [(poll.renew_leases, poll.wait.seconds) for poll in polls(link)] == [(True, 2), (True, 2)]


def test_an_unknown_task_is_not_waited_for() -> None:
    link = ScriptedLink(pb.PollResponse(unknown_task_ids=["b"], revision=1))

    with pytest.raises(TaskNotFoundError, match="b"):
        list(as_ended(link, "a", "b"))


def test_a_site_that_never_answered_is_not_waited_for() -> None:
    link = ScriptedLink(DOWN)

    with pytest.raises(SiteUnreachableError):
        list(as_ended(link, "a"))

    assert link.slept == []


@pytest.mark.parametrize("passing", [DOWN, CallTimeoutError("slow"), RecoveringError("a moment")])
def test_a_wait_outlives_a_restart_of_the_agent(passing: Exception) -> None:
    link = ScriptedLink(answer(5, running("a")), passing, passing, answer(7, exited("a")))

    ended = [status.task_id for status in as_ended(link, "a")]

    assert ended == ["a"]
    assert [poll.since_revision for poll in polls(link)] == [0, 5, 5, 5]
    assert link.slept[1] > link.slept[0] > 0


def test_a_site_says_when_to_come_back() -> None:
    busy = RecoveringError("a moment", retry_after=timedelta(seconds=3))
    link = ScriptedLink(answer(5, running("a")), busy, answer(7, exited("a")))

    list(as_ended(link, "a"))

    assert link.slept == [3]


def test_patience_ends() -> None:
    link = ScriptedLink(answer(5, running("a")), *[DOWN] * 99)

    with pytest.raises(SiteUnreachableError):
        list(as_ended(link, "a"))

    assert 60 <= sum(link.slept) < 70


def test_the_time_given_ends_before_patience_and_does_not_call_the_task_alive() -> None:
    link = ScriptedLink(answer(5, running("a")), *[DOWN] * 99)

    with pytest.raises(SiteUnreachableError):
        list(as_ended(link, "a", limit=timedelta(seconds=10)))

    assert sum(link.slept) < 20


def test_a_site_that_does_not_hold_its_answer_back_is_not_asked_in_a_tight_loop() -> None:
    link = ScriptedLink(answer(5, running("a")), answer(5), answer(5), answer(7, exited("a")))

    list(as_ended(link, "a"))

    assert link.slept == [1, 1]


def test_lists_go_on_to_the_last_page() -> None:
    def page(token: str, *task_ids: str) -> pb.ListTasksResponse:
        tasks = [task_pb2.Task(status=running(task_id)) for task_id in task_ids]
        return pb.ListTasksResponse(tasks=tasks, next_page_token=token)

    link = ScriptedLink(page("2", "a", "b"), page("3"), page("", "c"))

    listed = [task.status.task_id for task in iterate(follow.list_tasks(link, pb.TaskFilter(owner="me")))]

    assert listed == ["a", "b", "c"]
    assert link.asked == [
        pb.ListTasksRequest(filter=pb.TaskFilter(owner="me"), page_token=token) for token in ("", "2", "3")
    ]


def change(revision: int) -> pb.WatchTasksResponse:
    return pb.WatchTasksResponse(changed=running("a", revision))


def checkpoint(revision: int) -> pb.WatchTasksResponse:
    return pb.WatchTasksResponse(checkpoint=pb.WatchTasksResponse.Checkpoint(revision=revision))


def since(link: ScriptedLink) -> list[int]:
    return [request.since_revision for request in link.asked if isinstance(request, pb.WatchTasksRequest)]


def test_a_watch_is_resumed_after_the_last_change() -> None:
    link = ScriptedLink([change(3), checkpoint(5), change(8), DOWN], DOWN, [checkpoint(9)])

    with closing(iterate(follow.watch(link, pb.TaskFilter(), 0))) as watch:
        events = [next(watch) for _ in range(5)]

    assert since(link) == [0, 8, 8]
    assert [type(event) for event in events[:3]] == [TaskChanged, Checkpoint, TaskChanged]
    assert events[3:] == [WatchResumed(8), Checkpoint(9)]
    assert link.open_streams == 0


def test_a_watch_is_not_resumed_from_the_middle_of_a_snapshot() -> None:
    link = ScriptedLink([change(30), DOWN], [change(30), change(4), checkpoint(31)])

    with closing(iterate(follow.watch(link, pb.TaskFilter(), 0))) as watch:
        kinds = [type(next(watch)) for _ in range(5)]

    assert since(link) == [0, 0]
    assert kinds == [TaskChanged, WatchResumed, TaskChanged, TaskChanged, Checkpoint]


def test_a_watch_that_ran_into_its_deadline_is_renewed_at_once() -> None:
    link = ScriptedLink([checkpoint(5), CallTimeoutError("over")], [checkpoint(5)])

    with closing(iterate(follow.watch(link, pb.TaskFilter(), 0))) as watch:
        for _ in range(3):
            next(watch)

    assert link.slept == []


def chunk(offset: int, data: bytes) -> pb.ReadLogsResponse:
    return pb.ReadLogsResponse(chunk=pb.ReadLogsResponse.Chunk(offset=offset, data=data))


def header(offset: int) -> pb.ReadLogsResponse:
    return pb.ReadLogsResponse(header=pb.ReadLogsResponse.Header(start_offset=offset, attempt=1))


def end(offset: int) -> pb.ReadLogsResponse:
    return pb.ReadLogsResponse(end=pb.ReadLogsResponse.End(offset=offset, complete=True))


def test_output_is_read_on_where_the_connection_was_lost() -> None:
    link = ScriptedLink([header(0), chunk(0, b"abc"), DOWN], DOWN, [header(3), chunk(3, b"def"), end(6)])
    cursor = LogCursor(pb.ReadLogsRequest(task_id="a", follow=True))

    chunks = list(iterate(follow.read_logs(link, cursor)))

    assert chunks == [LogChunk(0, b"abc", attempt=1), LogChunk(3, b"def", attempt=1)]
    assert cursor.complete
    assert [request.offset for request in link.asked if isinstance(request, pb.ReadLogsRequest)] == [0, 3, 3]


def test_bytes_that_went_away_meanwhile_leave_a_gap_that_shows() -> None:
    gone = LogOffsetExpiredError("gone", metadata={"earliest": "50", "next": "60"})
    link = ScriptedLink([header(0), chunk(0, b"abc"), DOWN], gone, [header(50), chunk(50, b"x"), end(51)])

    chunks = list(iterate(follow.read_logs(link, LogCursor(pb.ReadLogsRequest(follow=True)))))

    assert chunks == [LogChunk(0, b"abc", attempt=1), LogChunk(50, b"x", attempt=1)]


def test_an_offset_that_was_never_there_is_refused() -> None:
    gone = LogOffsetExpiredError("past the end", metadata={"earliest": "0", "next": "6"})
    link = ScriptedLink(gone)

    with pytest.raises(LogOffsetExpiredError):
        list(iterate(follow.read_logs(link, LogCursor(pb.ReadLogsRequest(offset=99)))))


def test_a_reader_that_leaves_closes_its_stream() -> None:
    link = ScriptedLink([header(0), chunk(0, b"abc"), chunk(3, b"def"), end(6)])
    chunks = iterate(follow.read_logs(link, LogCursor(pb.ReadLogsRequest())))
    next(chunks)

    chunks.close()

    assert link.open_streams == 0
