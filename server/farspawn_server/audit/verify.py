"""Is the chain whole? Asked of files alone: of a site's own while its agent writes, or of a copy of them anywhere.

It cannot be seen from the files whether their end was cut off, or all of it written anew: for that, note a hash
elsewhere from time to time, and ask whether the chain still holds it. The same goes for their beginning: the oldest
files may have been removed, which the site's owner can have the agent do.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from farspawn_server.audit import chain, folder


class BrokenChainError(Exception):
    """The chain is not whole; the text says where (FILE:LINE) and how."""


@dataclass(slots=True)
class Summary:
    """What a whole chain holds. Without a line, the texts are empty.

    Attributes:
        first_seq: the number of its first line: above 1, the ones before are not here.
        first_time: of its first line.
        last_time: of its last line.
        head: the hash of its last line: to be noted elsewhere.
        unfinished: bytes after the last line: it is being written, or a crash cut it off.
        lost: how many records the agent says it could not write.
        expected: whether the hash that was asked for is in it.
    """

    lines: int = 0
    first_seq: int = 1
    first_time: str = ""
    last_time: str = ""
    head: str = chain.GENESIS
    unfinished: int = 0
    lost: int = 0
    expected: bool = False


def verify(directory: Path, expect: str = "") -> Summary:
    """Check all files of a directory.

    Raises:
        BrokenChainError: the chain is not whole.
        OSError: the files cannot be read.
    """
    return check(_files(directory), expect)


def check(files: Iterable[tuple[int, Iterable[bytes]]], expect: str = "") -> Summary:
    """Check files, each a number and its lines with their line breaks, oldest first; `expect` is a hash to look for.

    Raises:
        BrokenChainError: the chain is not whole.
    """
    summary = Summary()
    before, held = None, 0
    for number, lines in files:
        if before is not None:
            _check_file_follows(number, before, empty=summary.lines == held, unfinished=summary.unfinished > 0)
        before, held = number, summary.lines
        for place, line in enumerate(lines, start=1):
            try:
                _add(summary, line, begins=number == 1, expect=expect)
            except ValueError as error:
                raise BrokenChainError(f"{folder.name_of(number)}:{place}: {error}") from error
    return summary


def _check_file_follows(number: int, before: int, *, empty: bool, unfinished: bool) -> None:
    if number != before + 1:
        raise BrokenChainError(f"{folder.name_of(before + 1)} is missing")
    if unfinished:
        raise BrokenChainError(f"{folder.name_of(before)} ends in an unfinished line, and another file follows it")
    if empty:
        raise BrokenChainError(f"{folder.name_of(before)} is empty, and another file follows it")


def _add(summary: Summary, line: bytes, *, begins: bool, expect: str) -> None:
    """Take the next line in. Raises ValueError: it is not the next one."""
    if not line.endswith(b"\n"):
        summary.unfinished = len(line)
        return
    link = chain.read(line[:-1])
    if summary.lines:
        _check_follows(link, summary.first_seq + summary.lines, summary.head)
    elif begins:
        _check_follows(link, 1, chain.GENESIS)
    else:
        summary.first_seq = link.seq
    time = str(link.fields.get("time", ""))
    lost = link.fields.get("lost", 0)
    summary.lines += 1
    summary.first_time = summary.first_time or time
    summary.last_time = time
    summary.head = link.hash
    summary.lost += lost if isinstance(lost, int) else 0
    summary.expected = summary.expected or (expect != "" and expect in (link.hash, link.prev))


def _check_follows(link: chain.Link, seq: int, prev: str) -> None:
    if link.seq > seq:
        raise ValueError(f"lines are missing before it: seq {link.seq}, where {seq} should be")
    if link.seq < seq:
        raise ValueError(f"it does not belong here: seq {link.seq}, where {seq} should be")
    if link.prev != prev:
        raise ValueError(
            "it follows a line that is not here: one before it was written anew, or it is of another chain"
        )


def _files(directory: Path) -> Iterator[tuple[int, Iterable[bytes]]]:
    began = False
    for number in folder.numbers(directory):
        try:
            file = (directory / folder.name_of(number)).open("rb")
        except FileNotFoundError:
            if began:
                raise
            continue  # the agent has just removed its oldest
        began = True
        with closing(file):
            yield number, file
