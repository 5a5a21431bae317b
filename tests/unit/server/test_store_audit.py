"""The store's thread writes the audit: before the change that it belongs to, which is not made without it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import pytest
from support.audit import audit_lines
from support.values import a_task

from farspawn_server.audit import ACCEPTED, Record, Trail
from farspawn_server.audit.verify import verify
from farspawn_server.store import Store, StoreError

_T = TypeVar("_T")
ENTRY = Record(at=1, identity="local", peer="unix:", rpc="LaunchTask", outcome=ACCEPTED)
REFUSAL = replace(ENTRY, outcome="SPEC_INVALID")


def with_store(directory: Path, work: Callable[[Store], Awaitable[_T]]) -> _T:
    async def run() -> _T:
        store = Store(directory / "farspawn.db", Trail(directory / "audit", max_file_bytes=1 << 30, max_files=0))
        try:
            return await work(store)
        finally:
            await store.close()

    return asyncio.run(run())


def test_a_task_that_cannot_be_put_on_record_is_not_stored_and_others_are(tmp_path: Path) -> None:
    (tmp_path / "audit").touch()  # in the place of the directory

    async def put(store: Store) -> list[BaseException | None]:
        new, running = replace(a_task("new"), revision=1), replace(a_task("running"), revision=2)
        return [*await asyncio.gather(store.put(new, ENTRY), store.put(running), return_exceptions=True)]

    async def stored(store: Store) -> list[str]:
        return [task.uid for task in store.load()[1]]

    refused, done = with_store(tmp_path, put)

    assert isinstance(refused, StoreError)
    assert done is None
    assert with_store(tmp_path, stored) == ["running"]


def test_what_is_only_put_on_record_fails_for_nobody_and_is_counted(tmp_path: Path) -> None:
    (tmp_path / "audit").touch()

    async def note(store: Store) -> None:
        store.note(REFUSAL)
        await store.noted(ENTRY)
        (tmp_path / "audit").unlink()
        await store.put(replace(a_task(), revision=1), ENTRY)

    with_store(tmp_path, note)

    assert [line["lost"] for line in audit_lines(tmp_path / "audit")] == [2]


def test_a_line_is_in_the_file_before_the_change_that_follows_it_is_made(tmp_path: Path) -> None:
    seen: list[int] = []

    async def put(store: Store) -> None:
        for _ in range(20):
            store.note(ENTRY)
            await store._submit(lambda _: seen.append(verify(tmp_path / "audit").lines))

    with_store(tmp_path, put)

    assert seen == list(range(1, 21))


@pytest.mark.parametrize("more", [0, 1000])
def test_a_flood_of_refusals_is_cut_to_a_bound_and_the_rest_is_counted(tmp_path: Path, more: int) -> None:
    bound = 4096

    async def flood(store: Store) -> None:
        held = threading.Event()
        entered = threading.Event()

        def hold(_: object) -> None:
            entered.set()
            held.wait()

        holding = asyncio.ensure_future(store._submit(hold))
        await asyncio.to_thread(entered.wait)
        for number in range(bound + more):
            store.note(replace(REFUSAL, identity=str(number % 10)))
        launch = asyncio.ensure_future(store.put(replace(a_task(), revision=1), ENTRY))
        await asyncio.sleep(0)  # so that it is asked for
        held.set()
        await asyncio.gather(holding, launch)

    with_store(tmp_path, flood)

    found = verify(tmp_path / "audit")
    assert (found.lines, found.lost) == (bound + 1, more)
    assert audit_lines(tmp_path / "audit")[-1]["outcome"] == ACCEPTED


def test_what_one_identity_is_refused_without_end_does_not_fill_the_disk(tmp_path: Path) -> None:
    async def flood(store: Store) -> None:
        for _ in range(15):
            for _ in range(1000):  # no more at once than wait in its queue
                store.note(REFUSAL)
            await store.noted(ENTRY)
        store.note(replace(REFUSAL, identity="somebody else"))
        await store.noted(ENTRY)

    with_store(tmp_path, flood)

    found = verify(tmp_path / "audit")
    assert found.lines + found.lost == 15_017
    assert 10_000 <= sum(line["outcome"] == "SPEC_INVALID" for line in audit_lines(tmp_path / "audit")) < 14_000
    assert [line["identity"] for line in audit_lines(tmp_path / "audit")][-2:] == ["somebody else", "local"]
