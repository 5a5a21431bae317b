"""Rows that cannot be read: each is kept aside, and what its task is called stays, so that it is not launched again."""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import time

import msgspec

from farspawn_server.store import codec
from farspawn_server.task.life import Task
from farspawn_server.task.outcome import State, Times
from farspawn_server.task.spec import Owner, Spec, TaskId, Uid

log = logging.getLogger(__name__)


def load(database: sqlite3.Connection) -> list[Task]:
    """Return every task, oldest first. One whose row cannot be read has no boot: it is of none that anybody knows."""
    # As bytes: what is not even text must not keep others from being read.
    rows = database.execute(
        "SELECT uid, CAST(spec AS BLOB), CAST(permit AS BLOB), CAST(record AS BLOB) FROM task ORDER BY uid"
    )
    return [_task(database, uid, *texts) for uid, *texts in rows.fetchall()]


def _task(database: sqlite3.Connection, uid: str, spec: bytes, permit: bytes | None, record: bytes) -> Task:
    try:
        return codec.decode(spec, permit, record)
    except (msgspec.MsgspecError, TypeError, ValueError) as error:
        return _kept_aside(database, uid, spec, error)


def _kept_aside(database: sqlite3.Connection, uid: str, spec: bytes, error: Exception) -> Task:
    log.warning("row cannot be read, kept aside in table damaged", extra={"uid": uid, "error": str(error)})
    owner, task_id, revision = database.execute(
        "SELECT owner, task_id, revision FROM task WHERE uid = ?", (uid,)
    ).fetchone()
    known = Spec(argv=())
    with contextlib.suppress(msgspec.MsgspecError):
        known = msgspec.json.decode(spec, type=Spec)
    task = Task(
        uid=Uid(uid),
        task_id=TaskId(task_id),
        owner=Owner(owner),
        spec=known,
        digest=known.digest(),
        state=State.STARTING,
        times=Times(created=time.time_ns()),
        boot="",
        revision=revision,
    )
    try:
        with database:
            database.execute("BEGIN IMMEDIATE")
            database.execute(
                "INSERT OR REPLACE INTO damaged SELECT uid, spec, permit, record FROM task WHERE uid = ?", (uid,)
            )
            database.execute(
                "UPDATE task SET spec = ?, permit = NULL, record = ? WHERE uid = ?",
                (codec.encode_spec(known), codec.encode_record(task), uid),
            )
    except sqlite3.OperationalError as refused:  # a full disk: the next start finds the row as it is
        log.warning("row not kept aside", extra={"uid": uid, "error": str(refused)})
    return task
