"""A disk that is full, or fails: what still goes through, and what is taken back."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import pytest
from support.audit import audit_lines
from support.disks import SmallDisk, small_disk
from support.values import a_task, in_state

from farspawn_server.audit import ACCEPTED, Record, Trail
from farspawn_server.audit.verify import verify
from farspawn_server.store import Store, StoreError, reserve, writer
from farspawn_server.store.writer import Apply
from farspawn_server.task.life import Task
from farspawn_server.task.outcome import State

_T = TypeVar("_T")
ENTRY = Record(at=1, identity="local", peer="unix:", rpc="LaunchTask", outcome=ACCEPTED)


class BadFlush(Trail):
    """An audit whose flush fails, as on a disk that is going bad."""

    bad = True

    def flush(self) -> None:
        if self.bad:
            raise OSError(5, "Input/output error")
        super().flush()


def with_store(directory: Path, work: Callable[[Store], Awaitable[_T]], trail: type[Trail] = Trail) -> _T:
    async def run() -> _T:
        store = Store(directory / "farspawn.db", trail(directory / "audit", max_file_bytes=1 << 30, max_files=0))
        try:
            return await work(store)
        finally:
            await store.close()

    return asyncio.run(run())


async def stored(store: Store) -> list[str]:
    return [task.uid for task in store.load()[1]]


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SmallDisk]:
    monkeypatch.setattr(writer, "allocate_log", lambda _: None)  # as if the log had grown to all that it has
    with small_disk(tmp_path / "disk", megabytes=16) as disk:
        yield disk


def many_stops() -> list[Task]:
    """Return changes that together need more room than a page that happens to be free."""
    return [replace(in_state(State.STOPPING, f"uid-{number}"), revision=number + 1) for number in range(50)]


def test_with_a_full_disk_stops_are_stored_in_the_reserve_and_launches_are_refused(disk: SmallDisk) -> None:
    async def work(store: Store) -> list[object]:
        disk.fill()
        stops = await asyncio.gather(*map(store.put, many_stops()), return_exceptions=True)
        launch = await asyncio.gather(store.put(replace(a_task("new"), revision=99), ENTRY), return_exceptions=True)
        return [*stops, *launch]

    *stops, launch = with_store(disk.path, work)

    assert stops == [None] * 50
    assert isinstance(launch, StoreError)
    assert not (disk.path / "reserve").exists()
    assert "new" not in with_store(disk.path, stored)


def test_a_launch_in_the_same_commit_does_not_take_the_room_of_a_stop(disk: SmallDisk) -> None:
    async def work(store: Store) -> list[object]:
        disk.fill()
        launch = store.put(replace(a_task("new"), revision=99), ENTRY)
        return await asyncio.gather(launch, *map(store.put, many_stops()), return_exceptions=True)

    launch, *stops = with_store(disk.path, work)

    assert isinstance(launch, StoreError)
    assert stops == [None] * 50


def test_when_there_is_room_again_the_reserve_is_whole_again_and_launches_are_taken(
    disk: SmallDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reserve, "_TRY_AGAIN_SECONDS", 0.0)

    async def work(store: Store) -> None:
        disk.fill()
        await asyncio.gather(*map(store.put, many_stops()))
        disk.empty()
        await store.put(replace(a_task("new"), revision=99), ENTRY)

    with_store(disk.path, work)

    assert "new" in with_store(disk.path, stored)
    assert (disk.path / "reserve").stat().st_blocks > 0


def test_a_launch_whose_line_is_not_on_the_disk_was_never_stored_and_the_chain_is_whole(tmp_path: Path) -> None:
    async def work(store: Store) -> object:
        new, running = replace(a_task("new"), revision=1), replace(a_task("running"), revision=2)
        await store.put(running)
        (refusal,) = await asyncio.gather(store.put(new, ENTRY), return_exceptions=True)
        store._trail.bad = False  # type: ignore[attr-defined]
        await store.put(replace(a_task("next"), revision=3), ENTRY)
        return refusal

    assert isinstance(with_store(tmp_path, work, BadFlush), StoreError)
    assert with_store(tmp_path, stored) == ["next", "running"]
    assert len(audit_lines(tmp_path / "audit")) == 1
    assert verify(tmp_path / "audit").lines == 1


def test_what_cannot_be_taken_back_at_once_is_taken_back_with_the_next_change_and_stays_on_record(
    tmp_path: Path,
) -> None:
    async def work(store: Store) -> None:
        commit, failed = store._writer._commit, list[object]()

        def fail_once(changes: Sequence[Apply]) -> Exception | None:
            if not changes and not failed:
                failed.append(None)
                return OSError(5, "Input/output error")
            return commit(changes)

        store._writer._commit = fail_once  # type: ignore[method-assign]
        with pytest.raises(StoreError, match="Input/output"):
            await store.put(replace(a_task("new"), revision=1), ENTRY)
        await store.put(replace(a_task("running"), revision=2))
        assert failed

    with_store(tmp_path, work, BadFlush)

    assert with_store(tmp_path, stored) == ["running"]
    assert len(audit_lines(tmp_path / "audit")) == 1
