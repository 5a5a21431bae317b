"""The thread that writes database and audit: all that waits goes into one commit, beside one flush of the audit.

Both flushes are under way at once, and nobody is told before both are done. What a crash leaves of one without the
other: if this process dies, both files are as they were written, for the kernel has them. If the machine does, a task
may be stored whose line is lost, but its process was not started yet, and a task of before a reboot never is.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import queue
import sqlite3
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from farspawn_core import failpoint
from farspawn_server.audit import ACCEPTED, Record, Trail
from farspawn_server.store import schema
from farspawn_server.store.reserve import Reserve, allocate_log

log = logging.getLogger(__name__)

_MOST_IN_ONE_COMMIT = 512
_LOOK_EVERY_SECONDS = 1.0

Apply = Callable[[sqlite3.Connection], None]


@dataclass(frozen=True, slots=True)
class Change:
    """Something to be written.

    Attributes:
        apply: to the database; None: there is only something to put on record, or nothing.
        done: is done when it is written; None: nobody waits.
        record: a line of the audit.
        undo: takes back what `apply` does. Only with a record: what cannot be put on record is not to stay.
    """

    apply: Apply | None
    done: asyncio.Future[None] | None
    record: Record | None = None
    undo: Apply | None = None


class Writer:
    """Writes in the order in which it is asked."""

    def __init__(
        self, path: Path, trail: Trail, report: Callable[[Sequence[Change], Mapping[int, Exception]], object]
    ) -> None:
        """Open the database.

        Args:
            path: of the database.
            trail: the audit.
            report: is told of each batch when it is written, and by the place in it what is not written, and why.

        Raises:
            what `schema.connect` raises.
        """
        self._path = path
        self._trail = trail
        self._report = report
        self._wal = path.with_name(f"{path.name}-wal")
        self._open()
        self._reserve = Reserve(path.with_name("reserve"))
        self._owed: list[Apply] = []  # what could not be taken back
        self._flusher = ThreadPoolExecutor(1, "flusher")
        self._changes: queue.SimpleQueue[Change | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="store", daemon=True)
        self._thread.start()

    def _open(self) -> None:
        self.database = schema.connect(self._path)
        allocate_log(self._wal)
        self._inode, self._wal_inode = self._path.stat().st_ino, self._wal.stat().st_ino

    @property
    def waiting(self) -> int:
        """How many changes are in the queue, about."""
        return self._changes.qsize()

    def write(self, change: Change) -> None:
        """Have a change written."""
        self._changes.put(change)

    def close(self) -> None:
        """Write what was asked for, and let go of everything."""
        self._changes.put(None)
        self._thread.join()
        self._flusher.shutdown()
        self._trail.close()
        self.database.close()

    def _run(self) -> None:
        while (first := self._next()) is not None:
            batch, last = [first], False
            while not last and len(batch) < _MOST_IN_ONE_COMMIT and not self._changes.empty():
                change = self._changes.get()
                last = change is None
                if change is not None:
                    batch.append(change)
            self._report(batch, self._write(batch))
            if last:
                return

    def _next(self) -> Change | None:
        """Return what is to be written next; None: nothing any more."""
        while True:
            try:
                return self._changes.get(timeout=_LOOK_EVERY_SECONDS)
            except queue.Empty:
                try:
                    self._rescue_log()
                except (sqlite3.Error, OSError) as error:
                    log.warning("the database cannot be written", extra={"error": str(error)})

    def _rescue_log(self) -> None:
        """Put what is only in SQLite's log into the database if that log's file was removed: it ends with this process.

        Raises:
            sqlite3.Error, OSError: it cannot be done now.
        """
        # SQLite would go on writing to a file that was removed, and all would be lost at the end of this process.
        if self._path.stat().st_ino != self._inode:
            raise FileNotFoundError(f"{self._path} was replaced: restart the agent")
        with contextlib.suppress(FileNotFoundError):
            if self._wal.stat().st_ino == self._wal_inode:
                return
        self.database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self.database.close()
        self._open()
        log.warning("the log of the database was removed, and saved", extra={"path": str(self._wal)})

    def _write(self, batch: Sequence[Change]) -> dict[int, Exception]:
        """Write a batch; return what is not written, by its place in it, and why."""
        failed: dict[int, Exception] = {}
        launches = [place for place, each in enumerate(batch) if each.undo]
        if not self._reserve.fill():
            failed |= dict.fromkeys(launches, OSError("the disk is full, and a task needs room for its end too"))
        lines = [each for place, each in enumerate(batch) if each.record and place not in failed]
        changes = {place: each.apply for place, each in enumerate(batch) if each.apply and place not in failed}
        flushing = None
        try:
            # A thread of its own costs more than it spares where many launches share the flushes.
            flushing = self._put_on_record(lines, at_once=not changes or len(batch) > 1)
        except OSError as error:
            self._lose(lines)
            for place in launches:
                failed.setdefault(place, error)
                changes.pop(place, None)
        if (refused := self._commit([*changes.values()])) is not None:
            failed |= self._commit_in_reserve(batch, changes, refused)
        if flushing is not None and (unflushed := flushing.exception()) is not None:
            self._lose(lines)
            self._take_back([each.undo for each in lines if each.undo])
            failed |= dict.fromkeys(launches, OSError(str(unflushed)))
        return failed

    def _put_on_record(self, lines: Sequence[Change], *, at_once: bool) -> Future[None] | None:
        """Write lines of the audit; return the flush that is under way, if they need one and it is not done at once.

        Raises:
            OSError: none of them is written.
        """
        records = [each.record for each in lines if each.record]
        if not records:
            return None
        durable = any(record.outcome == ACCEPTED for record in records)
        self._trail.append(records, durable=durable and at_once)
        if any(each.undo for each in lines):
            failpoint.reach("server.launch.recorded")
        return self._flusher.submit(self._trail.flush) if durable and not at_once else None

    def _lose(self, lines: Sequence[Change]) -> None:
        """Count the lines that are not written, of what is done all the same."""
        lost = [each.record for each in lines if each.record and not each.undo]
        self._trail.lose(len(lost))
        for record in lost:
            if record.outcome == ACCEPTED:
                log.warning("done without record", extra={"rpc": record.rpc, "uid": record.uid})

    def _take_back(self, launches: list[Apply]) -> None:
        """Have tasks never been stored: their lines are not on the disk, and nobody was told of them."""
        self._owed += launches
        if self._commit([]) is None:
            self._trail.take_back()  # else the lines stay, for the next server would start what it finds stored

    def _commit_in_reserve(
        self, batch: Sequence[Change], changes: dict[int, Apply], error: Exception
    ) -> dict[int, Exception]:
        """Commit again, without what is launched, in the room that was kept; return what is still not stored."""
        failed = dict.fromkeys(changes, error)
        ends = [place for place in changes if not batch[place].undo]
        if ends and self._reserve.whole and _may_want_room(error):
            self._reserve.release()
            if self._commit([changes[place] for place in ends]) is None:
                return {place: error for place in changes if place not in ends}
        return failed

    def _commit(self, changes: Sequence[Apply]) -> Exception | None:
        changes = [*self._owed, *changes]
        if not changes:
            return None
        try:
            self._rescue_log()
            self.database.execute("BEGIN IMMEDIATE")
            for apply in changes:
                apply(self.database)
            self.database.execute("COMMIT")
        except (sqlite3.Error, OSError) as error:
            if self.database.in_transaction:
                self.database.execute("ROLLBACK")
            return error
        self._owed.clear()
        return None


def _may_want_room(error: Exception) -> bool:
    # SQLite tells a full disk from other errors of the disk in most places, but not in all.
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return code in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR)
