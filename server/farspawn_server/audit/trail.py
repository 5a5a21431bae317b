"""The audit's writer: lines appended to a file, the next file when it is full, and on in the same chain after a crash.

What is appended is in the file, as a whole or not at all: what a full disk took only half of is cut off again. Nothing
is touched before the first line is written: the server before this one may still be writing its last.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from farspawn_server.audit import chain, folder
from farspawn_server.audit.record import Record
from farspawn_server.audit.tail import last_line

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _File:
    number: int
    path: Path
    descriptor: int
    inode: int
    size: int  # of the whole lines
    torn: bool = False  # there is more in the file than that


@dataclass(frozen=True, slots=True)
class _Place:
    """Where the chain was before what was appended last."""

    size: int
    seq: int
    head: str
    notes: dict[str, int | str]
    lost: int


class Trail:
    """The audit of one site. Used from one thread at a time; `lose` from any."""

    def __init__(self, directory: Path, *, max_file_bytes: int, max_files: int) -> None:
        """Describe it; `append` opens it.

        Args:
            directory: of the files; made if its parent is there.
            max_file_bytes: a file that would grow beyond it is followed by another.
            max_files: how many are kept, the oldest being removed; 0: all.
        """
        self._directory = directory
        self._max_file_bytes = max_file_bytes
        self._max_files = max_files
        self._file: _File | None = None
        self._seq = 0
        self._head = chain.GENESIS
        self._notes: dict[str, int | str] = {}
        self._before: _Place | None = None
        self._failing = False
        self._losing = threading.Lock()
        self._lost = 0  # guarded by _losing

    def append(self, records: Sequence[Record], *, durable: bool) -> None:
        """Write lines; `durable`: and wait until they, and all before them, are on the disk.

        Raises:
            OSError: none of them is in the file. The next call tries everything again.
        """
        try:
            self._append(records, durable=durable)
        except OSError as error:
            self._fail(error)
            raise
        if self._failing:
            log.info("audit is written again")
            self._failing = False

    def flush(self) -> None:
        """Wait until all that was appended is on the disk.

        Raises:
            OSError: it may not be. Take it back.
        """
        assert self._file is not None
        try:
            os.fdatasync(self._file.descriptor)
        except OSError as error:
            self._fail(error)
            raise

    def take_back(self) -> None:
        """Have what was appended last never been written: cut off, so that what follows it is whole on the disk."""
        assert self._file is not None
        assert self._before is not None
        self._file.size, self._file.torn = self._before.size, True
        self._seq, self._head, self._notes = self._before.seq, self._before.head, self._before.notes
        self.lose(self._before.lost)

    def _fail(self, error: OSError) -> None:
        if not self._failing:
            log.warning("audit cannot be written, launches are refused", extra={"error": str(error)})
        self._failing = True

    def lose(self, count: int) -> None:
        """Note that so many records will not be written: the next line says so."""
        with self._losing:
            self._lost += count

    def close(self) -> None:
        """Put what was written on the disk, and let go of the file."""
        if self._file is not None:
            with suppress(OSError):
                os.fdatasync(self._file.descriptor)
            os.close(self._file.descriptor)
            self._file = None

    def _append(self, records: Sequence[Record], *, durable: bool) -> None:
        file = self._ready()
        lost = self._lost
        notes = {**self._notes, "lost": lost} if lost else self._notes
        seq, head, lines = self._seq, self._head, list[bytes]()
        for record in records:
            line, head = chain.forge(record, seq + 1, head, notes)
            seq, notes = seq + 1, {}
            lines.append(line)
        data = b"".join(lines)
        if file.size and file.size + len(data) > self._max_file_bytes:
            file = self._next(file)
        is_new = not file.size
        self._before = _Place(file.size, self._seq, self._head, self._notes, lost)
        _write(file, data, durable=durable or is_new)
        if is_new:
            self._prune()  # not before: the next process goes on after the last line that it finds
        self._seq, self._head, self._notes = seq, head, {}
        if lost:
            log.warning("audit lines were lost", extra={"lines": lost})
            self.lose(-lost)

    def _ready(self) -> _File:
        """Return the file to write to, with nothing but whole lines in it."""
        file = self._file or self._resume()
        if file.torn:
            os.ftruncate(file.descriptor, file.size)
            file.torn = False
        try:
            found = file.path.stat()
            ours = (found.st_ino, found.st_size) == (file.inode, file.size)
        except FileNotFoundError:
            ours = False
        if not ours:
            # Removed, replaced or written to by somebody else. The chain goes on in another file, and shows it.
            previous, file = file, self._next(file)
            log.error("audit file was changed by somebody", extra={"file": str(previous.path)})
        return file

    def _resume(self) -> _File:
        """Take up the chain where the last process left it."""
        with suppress(FileExistsError):
            self._directory.mkdir(mode=0o700)
        known = folder.numbers(self._directory)
        file = self._open(known[-1] if known else 1)
        try:
            line, whole = last_line(file.descriptor)
            if whole < file.size:
                log.warning("audit ended in an unfinished line, which is cut off", extra={"file": str(file.path)})
                self._notes["torn"] = file.size - whole
                file.size, file.torn = whole, True
            while not line and len(known) > 1 and not whole:  # the last process had just begun a file
                known.pop()
                line = self._last_line_of(known[-1])
            if line or whole:
                file = self._follow(file, line)
        except OSError:
            os.close(file.descriptor)
            raise
        self._file = file
        return file

    def _follow(self, file: _File, line: bytes) -> _File:
        """Go on after the last line; return the file to do it in."""
        try:
            last = chain.read(line)
        except chain.NotALineError as error:
            # Not to be mended: it shows that somebody was here. A chain of its own begins in the next file.
            log.error("audit is broken", extra={"file": str(file.path), "error": str(error)})  # noqa: TRY400  # foreseen
            self._notes["broken"] = file.path.name
            return self._next(file)
        self._seq, self._head = last.seq, last.hash
        return file

    def _last_line_of(self, number: int) -> bytes:
        descriptor = os.open(self._directory / folder.name_of(number), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            return last_line(descriptor)[0]
        finally:
            os.close(descriptor)

    def _next(self, file: _File) -> _File:
        """Begin the file after this one."""
        os.fdatasync(file.descriptor)  # no line may be on the disk before those that it follows
        new = self._open(file.number + 1)
        if new.size:
            os.close(new.descriptor)
            raise FileExistsError(f"{new.path} is there already, and not from this agent: move it away")
        os.close(file.descriptor)
        self._file = new
        return new

    def _open(self, number: int) -> _File:
        path = self._directory / folder.name_of(number)
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(path, flags, 0o600)
        try:
            found = os.fstat(descriptor)
            if not found.st_size:
                _sync_directory(self._directory)
        except OSError:
            os.close(descriptor)
            raise
        return _File(number, path, descriptor, found.st_ino, found.st_size)

    def _prune(self) -> None:
        if not self._max_files:
            return
        try:
            for number in folder.numbers(self._directory)[: -self._max_files]:
                (self._directory / folder.name_of(number)).unlink()
        except OSError as error:
            log.warning("old audit file not removed", extra={"error": str(error)})


def _write(file: _File, data: bytes, *, durable: bool) -> None:
    """Append all of it, or nothing."""
    file.torn = True  # until it is whole, what is there is to be cut off
    try:
        left = memoryview(data)
        while left:
            left = left[os.write(file.descriptor, left) :]
        if durable:
            os.fdatasync(file.descriptor)
    except OSError:
        with suppress(OSError):  # the next attempt tries again
            os.ftruncate(file.descriptor, file.size)
            file.torn = False
        raise
    file.size += len(data)
    file.torn = False


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
