"""What a reader of an output is told: when it is all there, what was lost, and where an attempt follows."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from support.runs import write_run
from support.values import EXIT_0, MOMENT, in_state

from farspawn_server.changes import Changes
from farspawn_server.logs import Chunk, LogFiles, Output
from farspawn_server.supervisor.log_stream import Checkpoint, End, Header, LogPart, LogStream, Start
from farspawn_server.task.errors import LogOffsetExpiredError, TaskNotFoundError
from farspawn_server.task.life import Task
from farspawn_server.task.outcome import Outputs, State, Survivor
from farspawn_server.task.spec import RestartMode, RestartPolicy

FROM_THE_BEGINNING = Start()
RESTARTS: Any = {"restart": RestartPolicy(RestartMode.ALWAYS)}


class Site:
    """A task whose output a test writes."""

    def __init__(self, directory: Path, task: Task) -> None:
        self.logs = LogFiles(directory / "logs")
        self.changes = Changes(0, [])
        self.charge: Any = SimpleNamespace(task=task)
        self.is_deleted = False

    def become(self, task: Task) -> None:
        """Change the task."""
        self.charge.task = replace(task, revision=self.charge.task.revision + 1)
        self.changes.publish(self.charge.task)

    def write(self, data: bytes, attempt: int = 1) -> None:
        """Write to the end of standard output."""
        with self.logs.path(self.charge.task.uid, attempt, Output.STDOUT).open("ab") as file:
            file.write(data)

    async def read(
        self,
        *,
        start: Start = FROM_THE_BEGINNING,
        attempt: int = 1,
        follow: bool = False,
        later: bool = False,
        then: Callable[[LogPart], None] = lambda _: None,
    ) -> list[LogPart]:
        """Read standard output to the end, and do something at each part."""
        stream = LogStream(
            self.charge,
            self.changes,
            self.logs,
            Output.STDOUT,
            until_ended=follow,
            is_deleted=lambda: self.is_deleted,
        )
        parts = []
        async for part in stream.parts(start, attempt, later_attempts=later):
            parts.append(part)
            then(part)
        return [part for part in parts if not isinstance(part, Checkpoint)]


def with_outputs(task: Task, written: int, lost: int = 0) -> Task:
    return replace(task, outputs=Outputs((written, 0), (lost, 0)))


def end_of(site: Site, **how: Any) -> End:
    *_, last = asyncio.run(site.read(**how))
    return cast("End", last)


@pytest.mark.parametrize(
    ("task", "complete"),
    [
        (with_outputs(in_state(State.EXITED), 5), True),
        (with_outputs(in_state(State.EXITED), 6), False),  # its file was cut
        (with_outputs(in_state(State.LOST), 5), False),  # with its shim, or the machine, went what it had not written
        (replace(in_state(State.EXITED), outputs=Outputs((5, 0), cut_off=True)), False),
        (in_state(State.EXITED), True),  # of version 0.1
        (in_state(State.RUNNING), False),
        (with_outputs(in_state(State.RUNNING), 5), False),
        (with_outputs(in_state(State.STOPPING), 5), False),
    ],
)
def test_reading_is_complete_when_all_was_sent_that_was_ever_written(
    tmp_path: Path, task: Task, *, complete: bool
) -> None:
    site = Site(tmp_path, task)
    site.write(b"abcde")

    assert end_of(site) == end_of(site, follow=task.state.final) == End(5, complete, 0)


def test_a_task_that_never_started_wrote_all_of_nothing(tmp_path: Path) -> None:
    assert end_of(Site(tmp_path, in_state(State.FAILED)), follow=True) == End(0, complete=True, lost=0)


def test_bytes_that_were_lost_are_told_and_the_rest_is_not_called_complete(tmp_path: Path) -> None:
    site = Site(tmp_path, with_outputs(in_state(State.EXITED), 5, lost=7))
    site.write(b"abcde")

    assert end_of(site) == End(5, complete=False, lost=7)


def test_what_can_still_be_written_by_a_survivor_is_not_called_complete(tmp_path: Path) -> None:
    survived = in_state(State.STOPPING).leader_ended(EXIT_0).exited(MOMENT, 0.0, (Survivor(7, "stuck", "D"),))
    site = Site(tmp_path, with_outputs(survived, 5))
    site.write(b"abcde")

    assert end_of(site, follow=True) == End(5, complete=False, lost=0)


def test_a_task_that_was_deleted_meanwhile_is_not_called_complete(tmp_path: Path) -> None:
    site = Site(tmp_path, in_state(State.EXITED))
    site.is_deleted = True

    with pytest.raises(TaskNotFoundError):
        end_of(site)


def test_following_an_attempt_goes_on_with_the_next_one_and_says_what_was_lost_of_both(tmp_path: Path) -> None:
    running = in_state(State.RUNNING, **RESTARTS)
    site = Site(tmp_path, running)
    site.write(b"one")

    def then(part: LogPart) -> None:
        task = site.charge.task
        if isinstance(part, Chunk) and part.data == b"one":
            pending = with_outputs(running, 3, lost=4).leader_ended(EXIT_0).exited(MOMENT, dice=0.0)
            assert pending.state is State.PENDING
            site.become(pending)
            asyncio.get_running_loop().call_later(0.01, lambda: site.become(pending.next_attempt("boot-1")))
        elif isinstance(part, Header) and part.attempt == 2:
            site.write(b"two", 2)
            ended = replace(task, spec=in_state(State.RUNNING).spec).running(7, 0, 0).leader_ended(EXIT_0)
            site.become(with_outputs(ended.exited(MOMENT, dice=0.0), 3, lost=1))

    parts = asyncio.run(site.read(follow=True, later=True, then=then))

    assert parts == [Header(0, 0, 1), Chunk(0, b"one"), Header(0, 0, 2), Chunk(0, b"two"), End(3, False, 5)]


def test_an_attempt_that_is_over_is_complete_though_its_task_is_not(tmp_path: Path) -> None:
    pending = with_outputs(in_state(State.RUNNING, **RESTARTS), 3).leader_ended(EXIT_0).exited(MOMENT, dice=0.0)
    site = Site(tmp_path, pending)
    site.write(b"one")

    between = end_of(site, follow=True)
    site.become(pending.next_attempt("boot-1"))

    assert between == end_of(site, follow=True) == End(3, complete=True, lost=0)


def test_reading_since_a_second_begins_with_its_first_byte(tmp_path: Path) -> None:
    site = Site(tmp_path, in_state(State.EXITED))
    site.write(b"one two")
    write_run(site.logs.runs(site.charge.task.uid, 1)[0], (60, 0, 0), (61, 4, 0))

    since_61 = asyncio.run(site.read(start=Start(since=61)))
    since_99 = asyncio.run(site.read(start=Start(since=99)))

    assert since_61 == [Header(0, 4, 1), Chunk(4, b"two", 61), End(7, complete=True, lost=0)]
    assert since_99 == [Header(0, 7, 1), End(7, complete=True, lost=0)]


@pytest.mark.parametrize(("offset", "begins"), [(2, 4), (6, 6)])
def test_of_an_offset_and_a_time_the_later_one_counts(tmp_path: Path, offset: int, begins: int) -> None:
    site = Site(tmp_path, in_state(State.EXITED))
    site.write(b"one two")
    write_run(site.logs.runs(site.charge.task.uid, 1)[0], (60, 0, 0), (61, 4, 0))

    header, *_ = asyncio.run(site.read(start=Start(offset=offset, since=61)))

    assert header == Header(0, begins, 1)


def test_an_offset_past_the_end_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LogOffsetExpiredError):
        end_of(Site(tmp_path, in_state(State.EXITED)), start=Start(offset=1))


def test_what_is_written_while_it_is_read_is_sent_only_to_those_who_follow(tmp_path: Path) -> None:
    site = Site(tmp_path, in_state(State.RUNNING))
    site.write(b"one")

    def then(part: LogPart) -> None:
        if isinstance(part, Header):
            site.write(b"two")

    assert asyncio.run(site.read(then=then))[1:] == [Chunk(0, b"one"), End(3, complete=False, lost=0)]
