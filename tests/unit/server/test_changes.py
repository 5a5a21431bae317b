"""What changed since a revision, and the bell for those who wait."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.values import a_task

from farspawn_server.changes import Changes, Deletion
from farspawn_server.task.errors import DrainingError
from farspawn_server.task.life import Task
from farspawn_server.task.spec import Owner, Uid


def at(uid: str, revision: int) -> Task:
    return replace(a_task(uid), revision=revision)


@given(st.lists(st.integers(0, 5), max_size=30), st.integers(0, 35))
def test_a_reader_sees_each_task_that_is_newer_once_in_the_order_of_revisions(uids: list[int], since: int) -> None:
    changes = Changes(0, [])
    newest: dict[str, int] = {}
    for revision, uid in enumerate(uids, start=1):
        changes.publish(at(str(uid), revision))
        newest[str(uid)] = revision

    seen = [(change.uid, change.revision) for change in changes.since(since)]

    expected = sorted((revision, uid) for uid, revision in newest.items() if revision > since)
    assert seen == [(uid, revision) for revision, uid in expected]
    assert changes.revision == len(uids)


def test_tasks_of_an_earlier_server_come_in_the_order_of_their_revisions() -> None:
    changes = Changes(9, [at("b", 7), at("a", 3)])

    assert [change.uid for change in changes.since(0)] == ["a", "b"]
    assert changes.revision == 9


def test_a_deletion_takes_the_place_of_its_task() -> None:
    changes = Changes(1, [at("a", 1)])

    changes.publish(Deletion(Uid("a"), Owner("local"), 2))

    assert changes.since(0) == [Deletion(Uid("a"), Owner("local"), 2)]


def test_old_deletions_are_forgotten() -> None:
    changes = Changes(0, [])
    for revision in range(1, 10_003):
        changes.publish(Deletion(Uid(str(revision)), Owner("local"), revision))

    assert [change.revision for change in changes.since(0)] == list(range(3, 10_003))


@pytest.mark.parametrize(("names", "heard"), [("a", True), ("ab", True), ("b", False), (None, True)])
def test_a_bell_rings_for_those_who_wait_for_this_task_or_any(names: str | None, heard: bool) -> None:
    async def wait() -> bool:
        changes = Changes(0, [])
        uids = None if names is None else [Uid(name) for name in names]
        waiting = asyncio.create_task(changes.wait(uids, 30.0 if heard else 0.05))
        await asyncio.sleep(0)  # gives way: now it waits
        changes.publish(at("a", 1))
        return await waiting

    assert asyncio.run(wait()) == heard


def test_nobody_is_kept_in_the_books_after_waiting() -> None:
    async def wait() -> dict[Uid | None, set[asyncio.Future[bool]]]:
        changes = Changes(0, [])
        await changes.wait([Uid("a"), Uid("b")], 0.0)
        cancelled = asyncio.create_task(changes.wait(None, 30.0))
        await asyncio.sleep(0)
        cancelled.cancel()
        await asyncio.gather(cancelled, return_exceptions=True)
        return changes._waiting

    assert asyncio.run(wait()) == {}


def test_at_the_end_those_who_wait_and_those_who_come_later_are_sent_away() -> None:
    async def end() -> tuple[bool | BaseException, bool | BaseException]:
        changes = Changes(0, [])
        waiting = asyncio.create_task(changes.wait(None, 30.0))
        await asyncio.sleep(0)
        changes.close()
        return await asyncio.gather(waiting, changes.wait(None, 30.0), return_exceptions=True)

    first, second = asyncio.run(end())
    assert isinstance(first, DrainingError)
    assert isinstance(second, DrainingError)
