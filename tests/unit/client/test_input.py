"""A writer that knows where it is, and outlives an agent that is restarted."""

from __future__ import annotations

import pytest
from support.scripted_link import ScriptedLink

from farspawn import (
    InputClosedError,
    InputOffsetSkippedError,
    RecoveringError,
    SiteUnreachableError,
    TaskNotRunningError,
)
from farspawn._blocking import run
from farspawn._input import _Input
from farspawn._verbs import INPUT_PIECE
from farspawn.v1 import launcher_pb2 as pb
from farspawn.v1 import task_pb2

DOWN = SiteUnreachableError("down")


def taken(offset: int) -> pb.WriteInputResponse:
    return pb.WriteInputResponse(acknowledged_offset=offset)


def sent(link: ScriptedLink) -> list[tuple[int, bytes, bool]]:
    return [
        (each.offset, each.data, each.end_of_input) for each in link.asked if isinstance(each, pb.WriteInputRequest)
    ]


def test_a_writer_goes_on_from_where_the_input_is() -> None:
    link = ScriptedLink([taken(5)], [taken(8)], [taken(9)])
    writer = _Input(link, "a")

    run(writer._write(b"abc"))
    run(writer._write(b"d"))

    assert sent(link) == [(0, b"", False), (5, b"abc", False), (8, b"d", False)]
    assert writer.offset == 9


@pytest.mark.parametrize("passing", [DOWN, RecoveringError("a moment")])
def test_what_is_missing_after_a_break_is_sent_again_and_nothing_else(passing: Exception) -> None:
    link = ScriptedLink([taken(10)], [passing], passing, [taken(12)], [taken(13)])

    run(_Input(link, "a")._write(b"abc"))

    assert sent(link) == [
        (0, b"", False),
        (10, b"abc", False),
        (0, b"", False),
        (0, b"", False),
        (12, b"c", False),
    ]


def test_much_is_written_in_pieces_that_a_site_takes() -> None:
    link = ScriptedLink([taken(0)], [taken(INPUT_PIECE)], [taken(INPUT_PIECE + 1)])
    data = bytes(range(256)) * (INPUT_PIECE // 256) + b"!"

    run(_Input(link, "a")._write(data))

    assert b"".join(data for _, data, _ in sent(link)) == data
    assert max(len(data) for _, data, _ in sent(link)) == INPUT_PIECE


def test_the_input_of_another_attempt_does_not_get_the_rest_of_a_write() -> None:
    link = ScriptedLink([taken(10)], [DOWN], [taken(0)], [taken(0)], [taken(1)])
    writer = _Input(link, "a")

    with pytest.raises(InputOffsetSkippedError, match="started again") as skipped:
        run(writer._write(b"abc"))
    run(writer._write(b"d"))

    assert skipped.value.acknowledged == 0
    assert sent(link)[-1] == (0, b"d", False)


def test_an_end_whose_answer_was_lost_is_sent_again_as_it_was() -> None:
    link = ScriptedLink([taken(3)], [DOWN], [taken(3)])

    run(_Input(link, "a")._close())

    assert sent(link)[1:] == [(3, b"", True), (3, b"", True)]


@pytest.mark.parametrize("refusal", [InputClosedError("closed"), TaskNotRunningError("ended")])
def test_to_end_what_has_ended_is_no_error(refusal: Exception) -> None:
    run(_Input(ScriptedLink([taken(3)], [refusal]), "a")._close())


def test_nothing_is_no_reason_to_ask() -> None:
    link = ScriptedLink()

    assert run(_Input(link, "a")._write(b"")) == 0


def test_a_program_that_is_still_being_started_is_waited_for() -> None:
    def how(state: task_pb2.TaskState.ValueType, revision: int) -> pb.PollResponse:
        status = task_pb2.TaskStatus(task_id="a", state=state, revision=revision)
        return pb.PollResponse(statuses=[status], revision=revision)

    link = ScriptedLink(
        [TaskNotRunningError("starting")],
        how(task_pb2.TASK_STATE_STARTING, 1),
        how(task_pb2.TASK_STATE_RUNNING, 2),
        [taken(0)],
        [taken(1)],
    )

    assert run(_Input(link, "a")._write(b"x")) == 1


def test_a_task_that_has_ended_is_not_waited_for() -> None:
    exited = task_pb2.TaskStatus(task_id="a", state=task_pb2.TASK_STATE_EXITED, revision=1)
    link = ScriptedLink([TaskNotRunningError("ended")], pb.PollResponse(statuses=[exited], revision=1))

    with pytest.raises(TaskNotRunningError):
        run(_Input(link, "a")._write(b"x"))
