"""Real programs that behave as tasks do, well or badly, and an independent eye on whether they live.

A program of `python_program` is given a pipe as descriptor 3: it writes a line for each process it consists of, and
every one of its processes holds the pipe open. So a test learns all pids, and end of file proves that all are gone.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from farspawn_core.spawn import spawn
from support.waiting import PATIENCE

PLAIN: Mapping[str, str] = {name: value for name, value in os.environ.items() if name in ("PATH", "LD_LIBRARY_PATH")}
"""An environment in which programs run, and nothing else."""

_PRELUDE = """
import os, signal, sys
def report(word="member"):
    started = open("/proc/self/stat", "rb").read().rpartition(b")")[2].split()[19].decode()
    os.write(3, f"{os.getpid()} {started} {word}\\n".encode())
def stay():
    while True:
        signal.pause()
def child(of_its_own_session=False):
    if os.fork():
        return False
    if of_its_own_session:
        os.setsid()
    return True
"""

STAYS = "report(); stay()"

REFUSES_SIGTERM = "signal.signal(signal.SIGTERM, signal.SIG_IGN); report(); stay()"

ENDS_WITH_7_ON_SIGTERM = "signal.signal(signal.SIGTERM, lambda *_: os._exit(7)); report(); stay()"

# Four processes: torchrun gives each rank a session of its own, and a rank has data loaders.
LIKE_TORCHRUN = """
for rank in range(2):
    if child(of_its_own_session=True):
        child()
        report("rank")
        stay()
report("leader")
stay()
"""
LIKE_TORCHRUN_SIZE = 5

# The classical daemon: orphaned, in a session that it does not lead.
DOUBLE_FORKS = """
if child(of_its_own_session=True):
    if child():
        report("daemon")
        stay()
    os._exit(0)
os.wait()
report("leader")
"""
STAYS_BESIDE_ITS_DAEMON = DOUBLE_FORKS + "stay()"

# Doubles until there are 200 processes, and then stays: it ends the doubling by itself.
FORK_BOMB = """
counter = os.open(sys.argv[2], os.O_WRONLY | os.O_APPEND)
while os.fstat(counter).st_size < 200:
    if child():
        os.write(counter, b".")
report()
stay()
"""

# A leader whose first thread has ended: a zombie by its state letter, and yet it runs.
GOES_ON_WITHOUT_ITS_FIRST_THREAD = """
import ctypes, platform, threading
threading.Thread(target=lambda: (report(), threading.Event().wait())).start()
ctypes.CDLL(None).syscall({"x86_64": 60}.get(platform.machine(), 93), 0)
"""

# The leader ends at once; its child stays in its session, without the environment that it was given.
LEAVES_A_NAMELESS_MEMBER = """
if child():
    kept = {name: value for name, value in os.environ.items() if name == "LD_LIBRARY_PATH"}
    os.execve(sys.executable, [sys.executable, "-I", "-S", "-c", sys.argv[1]], kept)
"""


def python_program(body: str, *arguments: str) -> list[str]:
    """Return the command of a small Python program; see the top of this file for its descriptor 3."""
    return [sys.executable, "-I", "-S", "-c", _PRELUDE + body, _PRELUDE + STAYS, *arguments]


@dataclass(frozen=True, slots=True)
class Member:
    """One process that reported itself."""

    pid: int
    start_time: int
    word: str

    @property
    def alive(self) -> bool:
        """Whether this very process, not another of its number, still runs."""
        return is_alive(self.pid, self.start_time)


class Family:
    """The pipe between a test and all processes of a program. On leaving, nothing of it is left alive."""

    def __init__(self) -> None:
        """Open the pipe."""
        self._reading, self.writing = os.pipe()
        self._members: list[Member] = []
        self._rest = b""
        self._ended = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for member in self._members:
            if member.alive:
                with suppress(ProcessLookupError):
                    os.kill(member.pid, signal.SIGKILL)
        self._close_writing()
        os.close(self._reading)

    @property
    def descriptors(self) -> tuple[int, int, int, int]:
        """The `descriptors` to spawn with."""
        return (0, 1, 2, self.writing)

    def members(self, count: int, timeout: float = PATIENCE) -> list[Member]:
        """Wait for `count` processes to report themselves, and return them."""
        deadline = time.monotonic() + timeout
        while len(self._members) < count:
            if not self._read(deadline):
                raise TimeoutError(f"{len(self._members)} of {count} processes came: {self._members}")
        return self._members[:count]

    def is_gone(self, timeout: float = PATIENCE) -> bool:
        """Wait for the last process that holds the pipe to end; False if one still lives then."""
        self._close_writing()
        deadline = time.monotonic() + timeout
        while self._read(deadline):
            pass
        return self._ended

    def _close_writing(self) -> None:
        if self.writing >= 0:
            os.close(self.writing)
            self.writing = -1

    def _read(self, deadline: float) -> bool:
        poller = select.poll()
        poller.register(self._reading, select.POLLIN)
        if self._ended or not poller.poll(max(0.0, deadline - time.monotonic()) * 1000):
            return False
        text = os.read(self._reading, 1 << 16)
        self._ended = not text
        *lines, self._rest = (self._rest + text).split(b"\n")
        for line in lines:
            pid, started, word = line.decode().split(" ", 2)
            self._members.append(Member(int(pid), int(started), word))
        return not self._ended


def state(pid: int) -> tuple[str, int] | None:
    """Return the state letter and start time of a process (proc_pid_stat(5)), or None if there is none."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return fields[0].decode(), int(fields[19])


def is_alive(pid: int, start_time: int) -> bool:
    """Whether the process of this pid and start time still runs: a zombie does not."""
    found = state(pid)
    return found is not None and found[0] not in "ZX" and found[1] == start_time


def output_of(
    argv: Sequence[str],
    env: Mapping[str, str] = PLAIN,
    cwd: str | None = None,
) -> str:
    """Spawn a program by the core, and return what it and all it started wrote to standard output."""
    reading, writing = os.pipe()
    with open(reading, "rb") as output:
        try:
            pid = spawn(argv, env=env, cwd=cwd, descriptors=(0, writing, 2))
        finally:
            os.close(writing)
        text = output.read()
    os.waitpid(pid, 0)
    return text.decode(errors="surrogateescape")


def exit_code_of(
    argv: Sequence[str],
    env: Mapping[str, str] = PLAIN,
    cwd: str | None = None,
) -> int:
    """Spawn a program by the core, wait for its end, and return its exit code or minus its signal."""
    pid = spawn(argv, env=env, cwd=cwd)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def pids_with_argument(marker: str) -> list[int]:
    """Return the live processes that have this word in their command line; those that nobody may look into included.

    A process that is not dumpable shows its command line to root only.
    """
    found: list[int] = []
    for entry in os.listdir("/proc"):
        if not entry.isdecimal() or int(entry) == os.getpid():
            continue
        try:
            words = Path(f"/proc/{entry}/cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if marker.encode() in words and (now := state(int(entry))) is not None and now[0] not in "ZX":
            found.append(int(entry))
    return found
