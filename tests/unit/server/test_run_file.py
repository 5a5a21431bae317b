"""What a run file says, in whatever order things happen."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from farspawn_server.keeper import runfile
from farspawn_server.keeper.runfile import Evidence

RUN, FILE = "task/1", "logs/task.1"
HOLDS = """
import fcntl, os, sys
file = open(sys.argv[1], "r+b")
fcntl.lockf(file, fcntl.LOCK_EX)
file.truncate(24)
print(flush=True)
sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def in_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A state directory to work in."""
    (tmp_path / "logs").mkdir()
    monkeypatch.chdir(tmp_path)


def test_a_shim_that_takes_its_file_between_two_looks_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    Path(FILE).touch()
    started: list[subprocess.Popen[bytes]] = []

    def late(descriptor: int) -> os.stat_result:
        holder = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", HOLDS, FILE], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        started.append(holder)
        assert holder.stdout is not None
        holder.stdout.readline()
        return os.stat(descriptor)

    monkeypatch.setattr(os, "fstat", late)
    found = runfile.look(RUN)
    monkeypatch.undo()

    (holder,) = started
    assert found == (Evidence.HELD, holder.pid)
    holder.communicate()


def test_what_is_claimed_nobody_can_be_started_for() -> None:
    assert runfile.claim(RUN)
    assert runfile.look(RUN) == (Evidence.UNHELD, 0)

    with pytest.raises(FileExistsError):
        os.open(FILE, os.O_CREAT | os.O_EXCL)  # as a shim does


def test_what_was_begun_cannot_be_claimed() -> None:
    Path(FILE).write_bytes(bytes(24))

    assert not runfile.claim(RUN)
    assert not runfile.discard(RUN)
    assert runfile.look(RUN) == (Evidence.LEFT, 0)


def test_what_was_claimed_can_be_given_back() -> None:
    runfile.claim(RUN)

    assert runfile.discard(RUN)
    assert runfile.look(RUN) == (Evidence.NONE, 0)


@pytest.mark.parametrize("plant", ["mkdir", "ln -s /etc/passwd", "mkfifo"])
def test_what_is_no_file_is_told_from_one(plant: str) -> None:
    subprocess.run([*plant.split(), FILE], check=True)

    assert runfile.look(RUN) == (Evidence.OTHER, 0)
    with pytest.raises(OSError, match=FILE):
        runfile.claim(RUN)


def test_a_lock_that_is_no_processs_has_no_pid() -> None:
    """A lock of an open file description: the kernel names -1, which os.kill would take for everybody."""
    with open(FILE, "w+b") as file:
        fcntl.fcntl(file, 37, runfile._ASKED)  # F_OFD_SETLK

        assert runfile.look(RUN) == (Evidence.HELD, 0)
