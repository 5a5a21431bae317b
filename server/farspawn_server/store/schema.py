"""The database file: how it is opened, and how an older one becomes a newer one.

`PRAGMA user_version` is the number of migrations that a file has seen. A file from a newer farspawn is refused:
guessing what it means could lose tasks.
"""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

# Never edit one that has been released: add another, and keep a file of each version in the tests.
_MIGRATIONS = (
    """
    CREATE TABLE task (
        uid TEXT PRIMARY KEY,
        owner TEXT NOT NULL,
        task_id TEXT NOT NULL,
        revision INTEGER NOT NULL,
        spec TEXT NOT NULL,    -- JSON; written once
        record TEXT NOT NULL,  -- JSON; everything else
        UNIQUE (owner, task_id)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE site (
        only INTEGER PRIMARY KEY CHECK (only = 1),
        revision INTEGER NOT NULL  -- the greatest that a deletion was given; else the tasks' own tell
    ) STRICT;
    INSERT INTO site VALUES (1, 0);
    """,
    """
    ALTER TABLE task ADD COLUMN permit TEXT;  -- JSON; what the site made of the spec, NULL: nothing
    """,
    # A record tells no keeper any more, but the runtime that has the processes: version 0.1 could not read that.
    "",
    """
    CREATE TABLE tombstone (
        owner TEXT NOT NULL,
        task_id TEXT NOT NULL,
        digest TEXT NOT NULL,           -- of the spec
        record TEXT NOT NULL,           -- JSON, as in task
        forgotten_at INTEGER NOT NULL,  -- nanoseconds since 1970
        PRIMARY KEY (owner, task_id)
    ) STRICT, WITHOUT ROWID;
    """,
    """
    CREATE TABLE damaged (  -- what could not be read of tasks, as it was found
        uid TEXT PRIMARY KEY,
        spec,
        permit,
        record
    ) WITHOUT ROWID;
    """,
)


def connect(path: Path) -> sqlite3.Connection:
    """Open the database, made or brought up to date as needed.

    Raises:
        sqlite3.Error, OSError: it cannot be read or written.
        ValueError: it was written by a newer farspawn.
    """
    # Before SQLite makes it for everybody to read; its other files take their mode from this one.
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))
    # autocommit mode: the writer says BEGIN and COMMIT itself. Used from the writer's thread once it runs.
    database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = FULL")  # an answer means it is on the disk
        database.execute("PRAGMA busy_timeout = 5000")
        database.execute("PRAGMA secure_delete = ON")  # secrets of ended tasks are overwritten, not only unlinked
        _migrate(database, path)
        # What may not be written SQLite opens for reading, and that for good: better to fail, and to be started again.
        # Only a statement that writes finds out; undone, it takes no room on a full disk.
        database.executescript("BEGIN IMMEDIATE; UPDATE site SET revision = revision; ROLLBACK;")
    except BaseException:
        database.close()
        raise
    return database


def _migrate(database: sqlite3.Connection, path: Path) -> None:
    version: int = database.execute("PRAGMA user_version").fetchone()[0]
    if version > len(_MIGRATIONS):
        raise ValueError(f"{path} has schema version {version}, this farspawn knows {len(_MIGRATIONS)}: upgrade it")
    for number, script in enumerate(_MIGRATIONS[version:], start=version + 1):
        database.executescript(f"BEGIN; {script} PRAGMA user_version = {number}; COMMIT;")
