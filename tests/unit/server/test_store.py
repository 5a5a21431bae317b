"""The store: what it says is on the disk is there, in order, whole, and readable for ever."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import pytest
from support.values import EXIT_0, MOMENT, a_stop, a_task, every_kind_of_task, in_state
from support.waiting import until

from farspawn_server.audit import Trail
from farspawn_server.store import Forgotten, Store, StoreError, Tombstone, schema
from farspawn_server.task.life import Task
from farspawn_server.task.outcome import CleanupOutcome, Outputs, State, Survivor
from farspawn_server.task.spec import (
    Cleanup,
    Owner,
    Permit,
    Readiness,
    Resources,
    RestartMode,
    RestartPolicy,
    Spec,
    StopPlan,
    StopScope,
    TaskId,
    Uid,
)

_T = TypeVar("_T")
DATA = Path(__file__).parents[2] / "data"


def with_store(path: Path, work: Callable[[Store], Awaitable[_T]]) -> _T:
    """Open the store, work with it, and close it."""

    async def run() -> _T:
        store = Store(path, Trail(path.parent / "audit", max_file_bytes=1 << 20, max_files=0))
        try:
            return await work(store)
        finally:
            await store.close()

    return asyncio.run(run())


async def load(store: Store) -> tuple[int, list[Task]]:
    return store.load()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "farspawn.db"


def test_a_new_database_is_empty(path: Path) -> None:
    assert with_store(path, load) == (0, [])


def test_every_field_of_every_kind_of_task_comes_back(path: Path) -> None:
    tasks = every_kind_of_task()

    async def put(store: Store) -> None:
        for task in tasks:
            await store.put(task)

    with_store(path, put)

    assert with_store(path, load) == (len(tasks), tasks)


def test_what_resists_at_the_moment_is_not_stored(path: Path) -> None:
    resisting = in_state(State.STOPPING).resisting((Survivor(7, "stuck", "uninterruptible sleep"),))

    async def put(store: Store) -> None:
        await store.put(resisting)

    with_store(path, put)

    assert with_store(path, load)[1] == [replace(resisting, unkillable=())]


def test_puts_at_the_same_time_are_applied_in_their_order(path: Path) -> None:
    async def put(store: Store) -> None:
        await asyncio.gather(*(store.put(replace(a_task(), revision=n, pid=n)) for n in range(1, 1001)))

    with_store(path, put)

    revision, (task,) = with_store(path, load)
    assert (revision, task.revision, task.pid) == (1000, 1000, 1000)


def test_what_is_stored_is_seen_by_another_connection_before_put_returns(path: Path) -> None:
    async def put(store: Store) -> int:
        await store.put(replace(a_task(), revision=1))
        with sqlite3.connect(path) as other:
            (count,) = other.execute("SELECT count(*) FROM task").fetchone()
        other.close()
        return int(count)

    assert with_store(path, put) == 1


def test_a_deleted_task_is_gone_and_its_revision_is_not_given_again(path: Path) -> None:
    async def work(store: Store) -> None:
        await store.put(replace(a_task(), revision=1))
        await store.delete(Uid("uid-1"), 2)

    with_store(path, work)

    assert with_store(path, load) == (2, [])


def test_two_live_tasks_cannot_have_one_name(path: Path) -> None:
    async def put(store: Store) -> None:
        await store.put(replace(a_task("uid-1"), revision=1))
        await store.put(replace(a_task("uid-2"), revision=2, task_id=a_task("uid-1").task_id))

    with pytest.raises(StoreError, match="UNIQUE"):
        with_store(path, put)


def test_a_change_that_cannot_be_stored_leaves_the_database_as_it_was(path: Path) -> None:
    async def put(store: Store) -> list[BaseException | None]:
        await store.put(replace(a_task("uid-1"), revision=1))
        clash = replace(a_task("uid-2"), revision=2, task_id=a_task("uid-1").task_id)
        return [*await asyncio.gather(store.put(clash), return_exceptions=True)]

    (error,) = with_store(path, put)

    assert isinstance(error, StoreError)
    assert [task.uid for task in with_store(path, load)[1]] == ["uid-1"]


def test_the_store_goes_on_after_a_change_that_failed(path: Path) -> None:
    async def put(store: Store) -> None:
        await store.put(replace(a_task("uid-1"), revision=1))
        clash = replace(a_task("uid-2"), revision=2, task_id=a_task("uid-1").task_id)
        await asyncio.gather(store.put(clash), return_exceptions=True)
        await store.put(replace(a_task("uid-3"), revision=3))

    with_store(path, put)

    assert [task.uid for task in with_store(path, load)[1]] == ["uid-1", "uid-3"]


def test_tasks_come_oldest_first(path: Path) -> None:
    async def put(store: Store) -> None:
        for revision, uid in enumerate(["c", "a", "b"], start=1):
            await store.put(replace(a_task(uid), revision=revision))

    with_store(path, put)

    assert [task.uid for task in with_store(path, load)[1]] == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("column", "text"),
    [
        ("record", "'{'"),
        ("record", "'[]'"),
        ("record", "'{}'"),
        ("spec", "'x'"),
        ("permit", "'1'"),
        ("record", "CAST(x'ff' AS TEXT)"),
    ],
)
def test_a_row_that_cannot_be_read_costs_its_task_alone_and_is_kept(path: Path, column: str, text: str) -> None:
    async def put(store: Store) -> None:
        for revision, uid in enumerate(["a", "b", "c"], start=1):
            await store.put(replace(a_task(uid), revision=revision))

    with_store(path, put)
    with closing(sqlite3.connect(path)) as database, database:
        database.execute(f"UPDATE task SET {column} = {text} WHERE uid = 'b'")
        found = database.execute(f"SELECT CAST({column} AS BLOB) FROM task WHERE uid = 'b'").fetchone()

    for _ in range(2):
        before, damaged, after = with_store(path, load)[1]
        assert (before, after) == (replace(a_task("a"), revision=1), replace(a_task("c"), revision=3))
        assert (damaged.uid, damaged.task_id, damaged.owner, damaged.boot) == ("b", "id-of-b", "local", "")

    def kept() -> list[tuple[bytes]]:
        with closing(sqlite3.connect(path)) as database:
            return database.execute(f"SELECT CAST({column} AS BLOB) FROM damaged").fetchall()

    assert kept() == [found]
    with_store(path, lambda store: store.delete(Uid("b"), 4))
    assert kept() == []


@pytest.mark.parametrize("removed", [["-wal"], ["-wal", "-shm"]])
@pytest.mark.parametrize("writes", [True, False])
def test_what_was_stored_outlives_the_removal_of_the_databases_log(
    path: Path, removed: list[str], *, writes: bool
) -> None:
    crashed = path.parent / "crashed"
    crashed.mkdir()

    async def put(store: Store) -> None:
        await store.put(replace(a_task("a"), revision=1))
        for name in removed:
            path.with_name(path.name + name).unlink()
        if writes:
            await store.put(replace(a_task("b"), revision=2))
        await asyncio.to_thread(until, path.with_name(f"{path.name}-wal").exists)
        await store.put(replace(a_task("c"), revision=3))
        for file in path.parent.glob(f"{path.name}*"):  # what a crash would leave
            shutil.copy(file, crashed)

    with_store(path, put)

    assert [task.uid for task in with_store(crashed / path.name, load)[1]] == (
        ["a", "b", "c"] if writes else ["a", "c"]
    )


def test_a_database_of_a_newer_farspawn_is_refused_and_not_touched(path: Path) -> None:
    with_store(path, load)
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA user_version = 99")
    database.close()
    before = path.read_bytes()

    with pytest.raises(ValueError, match=r"schema version 99.*upgrade"):
        with_store(path, load)

    assert path.read_bytes() == before


def test_a_file_that_is_no_database_is_refused_and_not_touched(path: Path) -> None:
    path.write_text("precious, and no database at all: " * 40)
    before = path.read_bytes()

    with pytest.raises(sqlite3.DatabaseError, match="not a database"):
        with_store(path, load)

    assert path.read_bytes() == before


def tasks_of_the_second_version() -> list[Task]:
    """Return what `tests/data/farspawn-v2.db` holds. Do not change it.

    Besides the tasks of the first version: one in its second attempt, one whose cleanup runs, and with a permit one
    that runs and one that has ended.
    """
    spec: dict[str, Any] = {
        "restart": RestartPolicy(
            RestartMode.ON_FAILURE, 3, timedelta(seconds=2), timedelta(hours=1), timedelta(days=1)
        ),
        "cleanup": Cleanup(("rm", "-r", "x"), timedelta(seconds=5)),
        "open_input": True,
        "readiness": Readiness(log_line="up"),
        "resources": Resources(1 << 30, 60, 100, 10, 1 << 31, 5, 1 << 20),
    }
    asked = {"argv": (), "template": "train", "parameters": {"round": "3"}, "template_revision": "r1"}
    permit = Permit(
        terms=Spec(("train", "--round", "3"), **spec),
        template_revision="r1",
        secrets={"TOKEN": "hush"},
        directories=("/data",),
        sha256="ab" * 32,
        cleanup_sha256="cd" * 32,
        user="nobody",
    )
    running = replace(in_state(State.RUNNING, "uid-D", **asked).made_ready(), permit=permit)
    ended = replace(in_state(State.RUNNING, "uid-E", **asked), permit=permit).leader_ended(EXIT_0).exited(MOMENT, 0.0)
    kinds = [
        *every_kind_of_task(),
        in_state(State.PENDING, "uid-B").next_attempt("boot-1").running(7, MOMENT.wall, MOMENT.monotonic),
        in_state(State.RUNNING, "uid-C", **spec).leader_ended(EXIT_0).exited(MOMENT, 0.0),
        running,
        ended.cleaned_up(CleanupOutcome(code=1), MOMENT, dice=0.0),
    ]
    return [replace(task, revision=revision) for revision, task in enumerate(kinds, start=1)]


def tasks_of_the_third_version() -> list[Task]:
    """Return what `tests/data/farspawn-v3.db` holds. Do not change it.

    Besides the tasks of the second version: one that is stopped by its leader alone, and two whose output was bounded
    by the disk, in the last attempt and in one before it.
    """
    outputs = Outputs(written=(4096, 7), lost=(1 << 33, 0), error_number=28)
    full = replace(in_state(State.RUNNING, "uid-F"), outputs=outputs)
    again = replace(in_state(State.RUNNING, "uid-G", restart=RestartPolicy(RestartMode.ALWAYS)), outputs=outputs)
    leader_only = StopPlan(scope=StopScope.LEADER)
    kinds = [
        *tasks_of_the_second_version(),
        full.leader_ended(EXIT_0).exited(MOMENT, dice=0.0),
        again.leader_ended(EXIT_0).exited(MOMENT, dice=0.0),
        in_state(State.RUNNING, "uid-H", stop=leader_only, merge_output=True).stopping(
            replace(a_stop(), scope=StopScope.LEADER), MOMENT
        ),
    ]
    return [replace(task, revision=revision) for revision, task in enumerate(kinds, start=1)]


def before_shims(tasks: list[Task]) -> list[Task]:
    return [replace(task, handle="") for task in tasks]


KEPT = {
    "farspawn-v1.db": before_shims(every_kind_of_task()),
    "farspawn-v2.db": before_shims(tasks_of_the_second_version()),
    "farspawn-v3.db": tasks_of_the_third_version(),
    "farspawn-v4.db": tasks_of_the_third_version(),
    "farspawn-v5.db": tasks_of_the_third_version(),
}
FORGOTTEN = Forgotten(Owner("local"), TaskId("id-of-uid-T"), MOMENT.wall)
"""What `tests/data/farspawn-v4.db` holds a tombstone of."""


def test_a_database_of_each_version_is_kept() -> None:
    versions = range(1, len(schema._MIGRATIONS) + 1)

    assert {path.name for path in DATA.glob("*.db")} == set(KEPT) == {f"farspawn-v{number}.db" for number in versions}


@pytest.mark.parametrize("name", KEPT)
def test_a_database_of_any_version_is_read_with_all_its_fields(path: Path, name: str) -> None:
    shutil.copy(DATA / name, path)
    with closing(sqlite3.connect(path)) as database:
        assert f"farspawn-v{database.execute('PRAGMA user_version').fetchone()[0]}.db" == name

    revision, tasks = with_store(path, load)

    by_uid = {task.uid: task for task in tasks}
    assert revision == 41
    assert {task.state for task in tasks} == set(State)
    assert [by_uid[task.uid] for task in KEPT[name]] == KEPT[name]


def test_a_tombstone_of_the_fourth_version_tells_how_its_task_ended(path: Path) -> None:
    shutil.copy(DATA / "farspawn-v4.db", path)
    ended = replace(in_state(State.EXITED, "uid-T"), revision=40)

    async def look(store: Store) -> tuple[list[Forgotten], Task]:
        tombstone = await store.tombstone(FORGOTTEN.owner, FORGOTTEN.task_id)
        assert tombstone is not None
        assert tombstone.digest == ended.digest
        return store.tombstones(), tombstone.task(ended.spec)

    assert with_store(path, look) == ([FORGOTTEN], ended)


def test_a_task_that_is_forgotten_leaves_a_tombstone_in_the_same_commit_until_that_is_removed(path: Path) -> None:
    ended = replace(in_state(State.EXITED, "uid-T", restart=RestartPolicy(RestartMode.ALWAYS)), revision=1)

    async def forget(store: Store) -> Tombstone | None:
        await store.put(ended)
        await store.delete(ended.uid, 2, Tombstone.of(ended, at=7))
        assert await store.tombstone(ended.owner, TaskId("another")) is None
        return await store.tombstone(ended.owner, ended.task_id)

    async def remove(store: Store) -> list[Forgotten]:
        await store.remove_tombstones(ended.owner, [ended.task_id])
        return store.tombstones()

    tombstone = with_store(path, forget)
    assert tombstone is not None
    assert tombstone.task(ended.spec) == replace(ended, earlier=())
    assert with_store(path, load) == (2, [])
    assert with_store(path, remove) == []


@pytest.mark.parametrize("name", KEPT)
def test_the_digests_in_a_database_of_any_version_are_still_those_of_their_specs(path: Path, name: str) -> None:
    shutil.copy(DATA / name, path)

    _, tasks = with_store(path, load)

    assert [task.digest for task in tasks] == [task.spec.digest() for task in tasks]
