"""The audit's chain: what a line is, and that every kind of tampering is found, and where."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farspawn_server.audit import ACCEPTED, Record, Trail, argv_digest, chain
from farspawn_server.audit.verify import BrokenChainError, verify

RECORD = Record(at=1_700_000_000_123_456_789, identity="local", peer="unix:", rpc="LaunchTask", outcome=ACCEPTED)
FILES, LINES = 3, 4


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three files of four lines each."""
    folder = tmp_path / "audit"
    trail = Trail(folder, max_file_bytes=1300, max_files=0)
    for number in range(FILES * LINES):
        trail.append([replace(RECORD, task_id=f"task-{number:02d}")], durable=False)
    trail.close()
    assert [len(lines_of(folder, number)) for number in (1, 2, 3)] == [LINES] * FILES
    return folder


def path_of(folder: Path, number: int) -> Path:
    return folder / f"audit-{number:06d}.jsonl"


def lines_of(folder: Path, number: int) -> list[bytes]:
    return path_of(folder, number).read_bytes().splitlines(keepends=True)


def forged(line: bytes, **fields: object) -> bytes:
    """Return a line with other fields and the hash that fits them: what an attacker can make."""
    link = chain.read(line[:-1])
    given = {**link.fields, **fields}
    record = replace(RECORD, task_id=str(given["task_id"]), outcome=str(given["outcome"]))
    return chain.forge(record, int(str(given["seq"])), str(given["prev"]), {})[0]


def test_a_whole_chain_is_whole(folder: Path) -> None:
    found = verify(folder)

    assert (found.lines, found.first_seq, found.lost, found.unfinished) == (FILES * LINES, 1, 0, 0)
    assert found.first_time == found.last_time == "2023-11-14T22:13:20.123456Z"
    assert found.head == json.loads(lines_of(folder, 3)[-1])["hash"]


def edit(number: int, change: Callable[[list[bytes]], list[bytes]]) -> Callable[[Path], None]:
    def tamper(folder: Path) -> None:
        path_of(folder, number).write_bytes(b"".join(change(lines_of(folder, number))))

    return tamper


def swap_files(folder: Path) -> None:
    one, two = path_of(folder, 1).read_bytes(), path_of(folder, 2).read_bytes()
    path_of(folder, 1).write_bytes(two)
    path_of(folder, 2).write_bytes(one)


def file_of_another_chain(folder: Path) -> None:
    other = Trail(folder.parent / "other", max_file_bytes=1300, max_files=0)
    for number in range(FILES * LINES):
        other.append([replace(RECORD, task_id=f"else-{number:02d}")], durable=False)
    other.close()
    path_of(folder, 2).write_bytes(path_of(folder.parent / "other", 2).read_bytes())


TAMPERINGS: dict[str, tuple[Callable[[Path], None], str]] = {
    "a changed field": (
        edit(2, lambda lines: [lines[0], lines[1].replace(b"task-05", b"task-99"), *lines[2:]]),
        "audit-000002.jsonl:2: it was changed",
    ),
    "a changed field, and a hash that fits": (
        edit(2, lambda lines: [lines[0], forged(lines[1], outcome="POLICY_DENIED"), *lines[2:]]),
        "audit-000002.jsonl:3: it follows a line that is not here",
    ),
    "a changed last line": (
        edit(3, lambda lines: [*lines[:-1], lines[-1].replace(b"accepted", b"existing")]),
        "audit-000003.jsonl:4: it was changed",
    ),
    "a removed line": (
        edit(2, lambda lines: [lines[0], *lines[2:]]),
        "audit-000002.jsonl:2: lines are missing before it: seq 7, where 6 should be",
    ),
    "a removed first line": (
        edit(1, lambda lines: lines[1:]),
        "audit-000001.jsonl:1: lines are missing before it: seq 2, where 1 should be",
    ),
    "swapped lines": (
        edit(2, lambda lines: [lines[0], lines[2], lines[1], lines[3]]),
        "audit-000002.jsonl:2: lines are missing before it: seq 7, where 6 should be",
    ),
    "a line twice": (
        edit(2, lambda lines: [lines[0], lines[0], *lines[1:]]),
        "audit-000002.jsonl:2: it does not belong here: seq 5, where 6 should be",
    ),
    "an inserted line": (
        edit(2, lambda lines: [lines[0], forged(lines[1], task_id="mine"), *lines[1:]]),
        "audit-000002.jsonl:3: it does not belong here: seq 6, where 7 should be",
    ),
    "a line that is none": (
        edit(2, lambda lines: [lines[0], b"\n", *lines[1:]]),
        "audit-000002.jsonl:2: this is no line of an audit",
    ),
    "nothing but zeros": (
        edit(2, lambda lines: [lines[0], b"\0" * 300 + b"\n", *lines[2:]]),
        "audit-000002.jsonl:2: this is no line of an audit",
    ),
    "a file that was cut off": (
        edit(2, lambda lines: lines[:-1]),
        "audit-000003.jsonl:1: lines are missing before it: seq 9, where 8 should be",
    ),
    "a file that was cut off in a line": (
        edit(2, lambda lines: [*lines[:-1], lines[-1][:40]]),
        "audit-000002.jsonl ends in an unfinished line",
    ),
    "an emptied file": (edit(2, lambda _: []), "audit-000002.jsonl is empty"),
    "a missing file": (lambda folder: path_of(folder, 2).unlink(), "audit-000002.jsonl is missing"),
    "swapped files": (swap_files, "audit-000001.jsonl:1: lines are missing before it"),
    "a file of another chain": (file_of_another_chain, "audit-000002.jsonl:1: it follows a line that is not here"),
}


@pytest.mark.parametrize("kind", TAMPERINGS)
def test_tampering_is_found_and_where(folder: Path, kind: str) -> None:
    tamper, told = TAMPERINGS[kind]
    tamper(folder)

    with pytest.raises(BrokenChainError) as caught:
        verify(folder)

    assert str(caught.value).startswith(told)


def test_an_end_that_was_cut_off_is_found_by_who_expects_it(folder: Path) -> None:
    noted = verify(folder).head
    assert verify(folder, noted).expected

    edit(3, lambda lines: lines[:-1])(folder)

    assert not verify(folder, noted).expected
    path_of(folder, 3).unlink()
    assert not verify(folder, noted).expected


def test_a_hash_from_the_middle_is_found(folder: Path) -> None:
    assert verify(folder, json.loads(lines_of(folder, 2)[1])["hash"]).expected


def test_a_line_that_is_being_written_breaks_nothing(folder: Path) -> None:
    with path_of(folder, 3).open("ab") as file:
        file.write(b'{"seq":13,"ti')

    found = verify(folder)

    assert (found.lines, found.unfinished) == (FILES * LINES, 13)


def test_without_its_oldest_files_a_chain_is_whole_and_says_where_it_begins(folder: Path) -> None:
    path_of(folder, 1).unlink()

    found = verify(folder)

    assert (found.lines, found.first_seq) == ((FILES - 1) * LINES, LINES + 1)


def test_a_shell_with_sha256sum_and_jq_verifies_a_chain(folder: Path) -> None:
    script = r"""
    prev=$(printf '0%.0s' $(seq 64))
    cat audit-*.jsonl | while IFS= read -r line; do
        hash=$(printf %s "${line%,\"hash\":*}" | sha256sum | cut -d' ' -f1)
        [ "$(printf %s "$line" | jq -r '.prev + " " + .hash')" = "$prev $hash" ] || exit 1
        prev=$hash; echo "$hash"
    done
    """
    said = subprocess.run(["sh", "-c", script], cwd=folder, capture_output=True, text=True, check=True)

    assert said.stdout.split() == [
        json.loads(line)["hash"] for number in (1, 2, 3) for line in lines_of(folder, number)
    ]


def test_the_digest_of_argv_is_what_a_shell_says() -> None:
    argv = ["/bin/prog", "", "two words", "ü\n"]
    command = ["sh", "-c", r"""printf "%s\0" "$@" | sha256sum""", "sh", *argv]
    said = subprocess.run(command, capture_output=True, text=True, check=True)

    assert argv_digest(argv) == said.stdout.split()[0]


@given(st.text(), st.text(), st.text())
def test_whatever_a_caller_gives_is_one_line_of_printable_ascii(task_id: str, program: str, identity: str) -> None:
    record = replace(RECORD, task_id=task_id, program=program, identity=identity)

    line, own = chain.forge(record, 1, chain.GENESIS, {})

    assert line.endswith(b"\n")
    assert all(0x20 <= byte < 0x7F for byte in line[:-1])
    link = chain.read(line[:-1])
    assert link.hash == own
    assert link.fields["identity"] == identity
    assert link.fields.get("task_id", "") == task_id


def test_what_is_too_long_is_cut_with_a_mark() -> None:
    line, _ = chain.forge(replace(RECORD, task_id="x" * 1_000_000), 1, chain.GENESIS, {})

    assert json.loads(line)["task_id"] == "x" * 256 + "... (1000000 characters)"
