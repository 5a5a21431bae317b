"""A pinned program runs only while its file has the hash; links, swaps and huge files do not fool the look."""

from __future__ import annotations

import errno
import hashlib
import os
import resource
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from support.apart import apart
from support.processes import PLAIN, exit_code_of, output_of

from farspawn_core import Confinement, Phase, SpawnError, pinned, spawn

_SPAWNS = 300
_MOST_SPAWNS = 20 * _SPAWNS  # on a busy machine the swapping thread may get no turn for long
_MEMORY = 64 << 20
_LARGE = 4 * _MEMORY


def sha256(path: Path | str) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def script(path: Path, said: str) -> Path:
    path.write_text(f"#!/bin/sh\necho {said}\n")
    path.chmod(0o755)
    return path


def refusal(argv: list[str], confinement: Confinement, cwd: str | None = None) -> tuple[str, Phase, str]:
    with pytest.raises(SpawnError) as caught:
        spawn(argv, env=PLAIN, cwd=cwd, confinement=confinement)
    return errno.errorcode[caught.value.errno or 0], caught.value.phase, caught.value.filename


def test_a_program_with_the_hash_runs(tmp_path: Path) -> None:
    tool = script(tmp_path / "tool", "good")

    assert output_of([str(tool)], confinement=Confinement(sha256=sha256(tool))) == "good\n"
    assert exit_code_of(["true"], confinement=Confinement(sha256=sha256("/bin/true"))) == 0


def test_a_program_with_another_hash_is_ekeyrejected(tmp_path: Path) -> None:
    tool = script(tmp_path / "tool", "bad")
    pin = Confinement(sha256="0" * 64)

    assert refusal([str(tool)], pin) == ("EKEYREJECTED", Phase.PROGRAM, str(tool))


def test_a_program_that_was_changed_is_refused_from_then_on_even_at_the_same_size(tmp_path: Path) -> None:
    tool = script(tmp_path / "tool", "good")
    pin = Confinement(sha256=sha256(tool))
    assert output_of([str(tool)], confinement=pin) == "good\n"
    was = tool.stat()

    script(tool, "evil")
    os.utime(tool, ns=(was.st_atime_ns, was.st_mtime_ns))

    assert refusal([str(tool)], pin)[0] == "EKEYREJECTED"


def test_a_relative_program_is_looked_at_where_it_will_run(tmp_path: Path) -> None:
    pin = Confinement(sha256=sha256(script(tmp_path / "tool", "good")))

    assert output_of(["./tool"], cwd=str(tmp_path), confinement=pin) == "good\n"
    assert output_of(["tool"], env={"PATH": "."}, cwd=str(tmp_path), confinement=pin) == "good\n"


def test_a_missing_program_is_enoent() -> None:
    assert refusal(["/nowhere"], Confinement(sha256="0" * 64)) == ("ENOENT", Phase.PROGRAM, "/nowhere")


def test_what_is_no_regular_file_is_not_even_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo", 0o777)

    with pytest.raises(SpawnError) as caught:
        pinned.resolve(str(tmp_path / "fifo"), "0" * 64)

    assert (caught.value.errno, caught.value.phase) == (errno.EACCES, Phase.PROGRAM)


def test_a_link_that_is_swapped_meanwhile_runs_nothing_else(tmp_path: Path) -> None:
    good, evil = script(tmp_path / "good", "good"), script(tmp_path / "evil", "evil")
    pin = Confinement(sha256=sha256(good))
    link, other, done = tmp_path / "tool", tmp_path / "other", threading.Event()
    link.symlink_to(good)

    def flip() -> None:
        number = 0
        while not done.is_set():
            number += 1
            other.symlink_to((good, evil)[number % 2])
            other.rename(link)

    thread = threading.Thread(target=flip)
    thread.start()
    found: Counter[str] = Counter()
    try:
        for number in range(_MOST_SPAWNS):
            if number >= _SPAWNS and len(found) > 1:
                break
            try:
                found[output_of([str(link)], confinement=pin).strip()] += 1
            except SpawnError as error:
                found[errno.errorcode[error.errno or 0]] += 1
    finally:
        done.set()
        thread.join()

    assert set(found) == {"good", "EKEYREJECTED"}


@pytest.mark.parametrize("how", ["rewritten", "replaced", "replaced by a link"])
def test_a_file_that_changes_while_it_is_looked_at_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    tool, evil = script(tmp_path / "tool", "good"), script(tmp_path / "evil", "evil")
    pin = sha256(tool)
    real = hashlib.file_digest

    def slow(file: Any, name: str) -> Any:
        digest = real(file, name)
        if how == "rewritten":
            script(tool, "evil")
        elif how == "replaced":
            evil.rename(tool)
        else:
            tool.unlink()
            tool.symlink_to(evil)
        return digest

    monkeypatch.setattr(hashlib, "file_digest", slow)
    with pytest.raises(SpawnError) as caught:
        pinned.resolve(str(tool), pin)

    assert caught.value.errno == errno.EKEYREJECTED


def test_the_executor_runs_the_pinned_file_whatever_the_path_says(tmp_path: Path) -> None:
    tool = script(tmp_path / "tool", "good")
    pin = Confinement(sha256=sha256(tool), open_files=100)

    assert output_of(["tool"], env={"PATH": str(tmp_path)}, confinement=pin) == "good\n"
    assert refusal([str(tool)], Confinement(sha256="0" * 64, open_files=100))[0] == "EKEYREJECTED"


def hash_with_little_memory(path: str) -> str:
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + _MEMORY, size + _MEMORY))
    try:
        pinned.resolve(path, "0" * 64)
    except SpawnError as error:
        return errno.errorcode[error.errno or 0]
    return ""


def test_a_file_greater_than_memory_is_hashed_piece_by_piece(tmp_path: Path) -> None:
    with (tmp_path / "large").open("wb") as file:
        file.truncate(_LARGE)

    assert apart.run(hash_with_little_memory, str(tmp_path / "large")) == "EKEYREJECTED"


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What was really read since the test began, with nothing remembered from before."""
    calls: list[object] = []
    real = hashlib.file_digest

    def counted(file: Any, name: str) -> Any:
        calls.append(file)
        return real(file, name)

    monkeypatch.setattr(hashlib, "file_digest", counted)
    monkeypatch.setattr(pinned, "_digests", {})
    return calls


def test_a_file_that_has_not_changed_for_long_is_read_once(hashed: list[object]) -> None:
    pin = Confinement(sha256=sha256("/bin/true"))

    for _ in range(3):
        assert exit_code_of(["true"], confinement=pin) == 0

    assert len(hashed) == 1


def test_a_file_that_was_just_changed_is_read_every_time(hashed: list[object], tmp_path: Path) -> None:
    tool = script(tmp_path / "tool", "good")
    pin = Confinement(sha256=sha256(tool))

    for _ in range(3):
        assert exit_code_of([str(tool)], confinement=pin) == 0

    assert len(hashed) == 3


def test_so_many_files_are_remembered_and_no_more(hashed: list[object], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pinned, "_REMEMBERED", 2)

    for name in ("true", "false", "cat", "true"):
        pinned.resolve(f"/bin/{name}", sha256(f"/bin/{name}"))

    assert len(pinned._digests) == 2
    assert len(hashed) == 4
