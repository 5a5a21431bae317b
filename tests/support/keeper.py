"""A real keeper whose server is the test: it orders and is told, in the words of `farspawn_server.keeper.messages`."""

from __future__ import annotations

import itertools
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from farspawn_core import proc
from farspawn_server.keeper.messages import (
    Answer,
    Confinement,
    Decoder,
    Finished,
    Hello,
    Holding,
    InputTaken,
    Message,
    Ping,
    Pong,
    Spawn,
    encode,
)
from support.agent import plain_environment
from support.waiting import PATIENCE, until

# What the keeper starts as its server: it gives its end of the socket to the test, and ends when the test lets it go.
_RELAY = """
import os, socket, sys
with socket.socket(socket.AF_UNIX) as test:
    test.connect(sys.argv[1])
    socket.send_fds(test, [b"x"], [3])
    os.close(3)
    try:
        test.recv(1)
    except ConnectionResetError:
        pass
"""


_NUMBERS = itertools.count()
_UNCONFINED = Confinement()


class ServedKeeper:
    """A running keeper. On leaving, it and all tasks are ended."""

    def __init__(self, directory: Path, *, serving: bool = True, **start: Any) -> None:
        """Start it, with `directory` for its state, and hear its Hello.

        Args:
            directory: its state directory.
            serving: False: it may be dead before it has a server.
            start: changes how the keeper is started: `environment` is added to ours, `through` is a command that
                executes another, `relay_in` is a directory whose path is short enough for a socket. The rest is for
                `subprocess.Popen`.
        """
        self.directory = directory
        # Of its own: the relay of a keeper that was killed may still be about to connect.
        self._address = start.pop("relay_in", directory) / f"relay{next(_NUMBERS)}.sock"
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self._address))
        self._listener.listen()
        self._listener.settimeout(PATIENCE)
        self._log = directory / "keeper.log"
        with self._log.open("ab") as log:
            relay = (sys.executable, "-I", "-S", "-c", _RELAY, str(self._address))
            self._process = subprocess.Popen(
                [
                    *start.pop("through", ()),
                    sys.executable,
                    "-P",
                    "-m",
                    "farspawn_server.keeper",
                    str(directory),
                    *relay,
                ],
                env={**plain_environment(), **start.pop("environment", {})},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=start.pop("stderr", log),
                start_new_session=True,
                **start,
            )
        self.pid = self._process.pid
        self.told: dict[str, Holding] = {}
        self.answers: dict[int, Answer | InputTaken] = {}
        self.silent = False
        self._asked = False
        if serving:
            self.hello = self._connect()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            self._process.terminate()
            until(lambda: self.log.count("shutdown asked for") >= 1)
            self._process.terminate()
            until(lambda: self.log.count("shutdown asked for") >= 2)
            self._disconnect()
            self._process.wait(PATIENCE)
        self._listener.close()
        print(self.log)  # pytest shows it beside a failure
        assert "Traceback" not in self.log

    @property
    def log(self) -> str:
        """What the keeper said."""
        return self._log.read_text(encoding="utf-8", errors="replace")

    def shims(self) -> list[int]:
        """Return the keeper's children but for its server, zombies included."""
        return [pid for pid in proc.children(self.pid) if not _is_relay(pid)]

    def order(self, *messages: Message) -> None:
        """Send orders."""
        self._link.sendall(b"".join(encode(message) for message in messages))

    def spawn(self, uid: str, argv: list[str], confinement: Confinement = _UNCONFINED, **more: Any) -> None:
        """Order a start."""
        fields: dict[str, Any] = {"cwd": "/", "env": {"PATH": "/usr/local/bin:/usr/bin:/bin"}, **more}
        prefix = f"logs/{uid.removesuffix('/cleanup').replace('/', '.')}"
        self.order(Spawn(uid, argv, prefix=prefix, confinement=confinement, **fields))

    def run(self, argv: list[str], confinement: Confinement = _UNCONFINED, **more: Any) -> tuple[Holding, str]:
        """Have something run to its end, and return that and what it wrote to standard output."""
        uid = f"run{next(_NUMBERS)}/1"
        self.spawn(uid, argv, confinement, **more)
        return self.until_over(uid), self.output(uid)

    def output(self, uid: str, stream: str = "stdout") -> str:
        """Return what a run has written."""
        path = self.directory / "logs" / f"{uid.replace('/', '.')}.{stream}"
        return path.read_text(errors="surrogateescape") if path.exists() else ""

    def answer(self, sequence: int) -> Answer | InputTaken:
        """Hear the answer to an order."""
        deadline = time.monotonic() + PATIENCE
        while sequence not in self.answers:
            self._hear(deadline)
        return self.answers.pop(sequence)

    def until(self, uid: str, condition: Callable[[Holding], object]) -> Holding:
        """Hear until a run's holding is as asked for, and return it."""
        deadline = time.monotonic() + PATIENCE
        while uid not in self.told or not condition(self.told[uid]):
            self._hear(deadline)
        return self.told[uid]

    def until_started(self, uid: str) -> Holding:
        """Hear until a run has a pid, or has failed."""
        return self.until(uid, lambda holding: holding.pid or holding.failure)

    def until_over(self, uid: str) -> Holding:
        """Hear until nothing of a run lives."""
        return self.until(uid, lambda holding: not holding.alive)

    def reload(self) -> None:
        """Have the keeper execute itself, and hear its next Hello."""
        os.kill(self.pid, signal.SIGUSR1)
        self.let_go()
        self.serve()

    def let_go(self) -> None:
        """Hear until the keeper lets its server go."""
        deadline = time.monotonic() + PATIENCE
        with suppress(EOFError, ConnectionResetError):
            while True:
                self._hear(deadline)
        self._disconnect()

    def serve(self) -> None:
        """Be the next server."""
        self.told.clear()
        self.hello = self._connect()

    def until_asked(self) -> None:
        """Hear until the keeper asks again whether we live."""
        deadline = time.monotonic() + PATIENCE
        self._asked = False
        while not self._asked:
            self._hear(deadline)

    def kill(self) -> None:
        """Kill the keeper only."""
        self._process.kill()
        self.died()

    def died(self) -> None:
        """Wait for the end of a keeper that is killed."""
        assert self._process.wait(PATIENCE) == -signal.SIGKILL
        self._disconnect()
        self._listener.close()

    def end(self) -> int:
        """Say that the shutdown is done, let the server end, and return the keeper's exit code."""
        self.order(Finished())
        self._disconnect()
        return self._process.wait(PATIENCE)

    def _connect(self) -> Hello:
        until(lambda: select.select([self._listener], [], [], 0)[0] or self._process.poll() is not None)
        assert self._process.poll() is None, f"the keeper has ended:\n{self.log}"
        self._relay, _ = self._listener.accept()
        _, (descriptor,), _, _ = socket.recv_fds(self._relay, 1, 1)
        self._link = socket.socket(fileno=descriptor)
        self._decoder = Decoder()
        self._hello: Hello | None = None
        deadline = time.monotonic() + PATIENCE
        while self._hello is None:
            self._hear(deadline)
        return self._hello

    def _disconnect(self) -> None:
        self._link.close()
        self._relay.close()

    def _hear(self, deadline: float) -> None:
        readable, _, _ = select.select([self._link], [], [], max(0.0, deadline - time.monotonic()))
        if not readable:
            raise TimeoutError(f"nothing more from the keeper:\n{self.told}\n{self.log}")
        if not (data := self._link.recv(1 << 18)):
            raise EOFError(f"the keeper is gone:\n{self.log}")
        for message in self._decoder.feed(data):
            if isinstance(message, Hello):
                self._hello = message
                self.told |= {holding.uid: holding for holding in message.holdings}
            elif isinstance(message, Holding):
                self.told[message.uid] = message
            elif isinstance(message, Answer | InputTaken):
                self.answers[message.sequence] = message
            elif isinstance(message, Ping):
                self._asked = True
                if not self.silent:
                    self.order(Pong())


def _is_relay(pid: int) -> bool:
    try:
        # Not what still hangs in its start, and shows the keeper's command: that has all of this behind its own.
        return os.fsencode(_RELAY) in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[:5]
    except (FileNotFoundError, ProcessLookupError):
        return False
