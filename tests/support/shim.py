"""A real shim whose keeper is the test: orders and reports go over its socket, and nothing stands in between."""

from __future__ import annotations

import fcntl
import os
import select
import shutil
import signal
import socket
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from farspawn_core import shim, shim_binary
from farspawn_core.shim import Order, Report, Stage
from support.waiting import PATIENCE, until

TOKEN = bytes(range(32))
RUN = "task/1"
_LOWEST = 50  # of the descriptors that are about to be given: above all that they become


_CONDITIONS: dict[str, Callable[[Report], bool]] = {
    "over": lambda report: not report.alive,
    "running": lambda report: report.stage >= Stage.RUNNING,
    "ended": lambda report: report.stage >= Stage.FAILED,
}


class OneShim:
    """A shim, started as a keeper starts it. On leaving, its run is killed and it has ended."""

    def __init__(self, state: Path, argv: list[str], *, group: Path | None = None, **fields: Any) -> None:
        """Start a run whose state directory is `state`; `fields` are those of `Order`."""
        self.state = state
        self.report: Report | None = None
        self.hello: shim.Hello | None = None
        self.answers: list[shim.Message] = []
        self.run_file = state / "logs" / "run"
        self.run_file.parent.mkdir(exist_ok=True)
        order: dict[str, Any] = {
            "run": RUN,
            "token": TOKEN,
            "run_file": "logs/run",
            "prefix": "logs/out",
            "env": {"PATH": "/usr/bin:/bin"},
            "cwd": "/",
            "programs": [shutil.which(argv[0]) or argv[0]],
            "cgroup": group is not None,
        }
        with ExitStack() as opened:
            self.link, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            opened.callback(theirs.close)
            null = os.open(os.devnull, os.O_RDWR)
            written = os.memfd_create("order")
            os.write(written, shim.encode(Order(argv=argv, **{**order, **fields})))
            given = [null, null, null, written, theirs.fileno()]
            if group is not None:
                given.append(os.open(group, os.O_RDONLY | os.O_DIRECTORY))
            for each in {*given} - {theirs.fileno()}:
                opened.callback(os.close, each)
            lifted = [fcntl.fcntl(each, fcntl.F_DUPFD_CLOEXEC, _LOWEST) for each in given]
            for each in lifted:
                opened.callback(os.close, each)
            here = os.open(".", os.O_PATH | os.O_CLOEXEC)
            opened.callback(os.close, here)
            os.chdir(state)
            opened.callback(os.fchdir, here)
            self.pid = os.posix_spawn(
                shim_binary.path(),
                [shim.NAME, RUN],
                {},
                file_actions=[(os.POSIX_SPAWN_DUP2, each, target) for target, each in enumerate(lifted)],
                setsid=True,
            )
        self._ended: int | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._ended is None:
            self.send(shim.kill())
            self.send(shim.forget())
            self.wait()
        self.link.close()

    def send(self, message: bytes) -> None:
        """Give an order; a shim that has ended takes none."""
        with suppress(BrokenPipeError, ConnectionResetError):  # `wait` tells how it ended
            self.link.send(message)

    def until(self, condition: str = "over") -> Report:
        """Hear until the run is "over", "running" or "ended" (its leader), and return the report that says so."""
        return self.until_report(_CONDITIONS[condition])

    def until_report(self, condition: Callable[[Report], object]) -> Report:
        """Hear until a report is as asked for."""
        deadline = time.monotonic() + PATIENCE
        while self.report is None or not condition(self.report):
            self._hear(deadline)
        return self.report

    def answer(self) -> shim.Message:
        """Hear until there is an answer, and return it."""
        deadline = time.monotonic() + PATIENCE
        while not self.answers:
            self._hear(deadline)
        return self.answers.pop(0)

    def output(self, suffix: str = "stdout") -> bytes:
        """Return what is in an output file now."""
        path = self.state / "logs" / f"out.{suffix}"
        return path.read_bytes() if path.exists() else b""

    def forget(self) -> int:
        """Say that the end is stored, wait for the shim's own, and return its exit status."""
        self.send(shim.forget())
        return self.wait()

    def wait(self) -> int:
        """Wait for the shim's end."""
        if self._ended is None:
            reaped = until(self._reaped)
            assert reaped is not None
            _, self._ended = reaped
        return self._ended

    def kill(self) -> None:
        """Kill the shim itself."""
        os.kill(self.pid, signal.SIGKILL)
        self.wait()

    def _reaped(self) -> tuple[int, int] | None:
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        return (pid, status) if pid else None

    def _hear(self, deadline: float) -> None:
        readable, _, _ = select.select([self.link], [], [], max(0.0, deadline - time.monotonic()))
        if not readable:
            raise TimeoutError(f"nothing more from the shim: {self.report}")
        if not (data := self.link.recv(shim.MESSAGE_BYTES)):
            raise EOFError(f"the shim has gone: {self.report}")
        match message := shim.decode(data):
            case Report():
                self.report = message
            case shim.Hello():
                self.hello, self.report = message, message.report
            case None:
                pass
            case _:
                self.answers.append(message)
