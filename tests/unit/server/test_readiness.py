"""The pattern of a readiness check: which lines it matches, and that no pattern makes the site work hard."""

from __future__ import annotations

import fnmatch
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farspawn_server.logs import CHUNK_BYTES
from farspawn_server.supervisor.readiness import LineScanner, matches

# Few letters, so that parts overlap and repeat.
few_letters = st.binary(max_size=12).map(lambda raw: bytes(b"ab*"[byte % 3] for byte in raw))
texts = st.binary(max_size=16).map(lambda raw: bytes(b"ab"[byte % 2] for byte in raw))


def by_regex(pattern: bytes, text: bytes) -> bool:
    wild = b".*".join(re.escape(part) for part in pattern.split(b"*"))
    return re.fullmatch(wild, text, re.DOTALL) is not None


@given(few_letters, texts)
def test_a_pattern_matches_what_the_same_regular_expression_matches(pattern: bytes, text: bytes) -> None:
    assert matches(pattern, text) == by_regex(pattern, text)


@given(few_letters, texts)
def test_a_pattern_of_stars_and_letters_matches_what_fnmatch_matches(pattern: bytes, text: bytes) -> None:
    assert matches(pattern, text) == fnmatch.fnmatchcase(text.decode(), pattern.decode())


@given(st.binary(max_size=20), st.binary(max_size=20))
def test_any_bytes_may_be_in_pattern_and_line(pattern: bytes, text: bytes) -> None:
    assert matches(pattern, text) == by_regex(pattern, text)


@given(st.lists(texts, min_size=1, max_size=6), st.lists(texts, min_size=5, max_size=5))
def test_a_line_made_from_a_pattern_matches_it(parts: list[bytes], between: list[bytes]) -> None:
    line = b"".join(part + gap for part, gap in zip(parts, [*between[: len(parts) - 1], b""], strict=True))

    assert matches(b"*".join(parts), line)


@pytest.mark.parametrize("special", [b"?", b"[ab]", b".", b"\\", b"^", b"$", b"(", b"+"])
def test_nothing_but_a_star_is_special(special: bytes) -> None:
    assert matches(special, special)
    assert not matches(special, b"a")


class CountedText(bytes):
    """A line that counts how far it is searched through."""

    searched = 0

    def find(self, part: bytes, start: int = 0, end: int | None = None) -> int:  # type: ignore[override]
        """Find as bytes do, and count the bytes between where the search began and where it ended."""
        found = super().find(part, start, len(self) if end is None else end)
        self.searched += (len(self) if found < 0 else found + len(part)) - start
        return found


@pytest.mark.parametrize("pattern", [b"*" * 1023 + b"b", b"a*" * 511 + b"b", b"*a" * 511 + b"*b*", b"*" + b"a*" * 511])
def test_a_hostile_pattern_walks_once_through_a_long_line(pattern: bytes) -> None:
    line = CountedText(b"a" * (64 * 1024))

    matches(pattern, line)

    assert line.searched <= 2 * len(line)


def test_a_line_counts_only_when_it_has_come_to_its_end(tmp_path: Path) -> None:
    log = tmp_path / "log"
    scanner = LineScanner(log, b"ready")
    seen = []
    for text in (b"", b"rea", b"dy", b"\n"):
        with log.open("ab") as file:
            file.write(text)
        seen.append(scanner.found())

    assert seen == [False, False, False, True]


def test_a_line_is_matched_whole(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"not ready\nready now\n")

    assert not LineScanner(log, b"ready").found()
    assert LineScanner(log, b"*ready*").found()


@pytest.mark.parametrize("at", [0, CHUNK_BYTES - 3, 3 * CHUNK_BYTES - 1])
def test_a_line_is_found_across_the_pieces_that_are_read(tmp_path: Path, at: int) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"x\n" * (at // 2) + b"\n" * (at % 2) + b"the line\n" + b"more")

    assert LineScanner(log, b"the line").found()


def test_of_a_line_the_first_64_kib_count(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"a" * (64 * 1024) + b"tail" * 50_000 + b"\n")

    assert LineScanner(log, b"a*a").found()
    assert not LineScanner(log, b"*tail").found()


def test_one_look_reads_a_bounded_part_of_what_was_written(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with log.open("wb") as file:
        file.seek(1 << 30)
        file.write(b"\nready\n")
    scanner = LineScanner(log, b"ready")

    assert not scanner.found()
    assert scanner._offset <= 4 << 20
