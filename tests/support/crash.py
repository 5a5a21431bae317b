"""An agent that is killed at a named place, and started again at once: the keeper's part by a "systemd" of the test's.

The place is `farspawn_core.failpoint`'s. It is held back from the start, so that a test can lead up to it, until `arm`.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import grpc

from farspawn.v1 import launcher_pb2 as pb
from farspawn.v1 import site_pb2
from farspawn_core import proc, shim
from support.agent import Agent, farspawnd, plain_environment
from support.waiting import PATIENCE, until

_Request = TypeVar("_Request")
_Reply = TypeVar("_Reply")

MARK = "CRASHED_IN"
"""The environment variable by which a test knows its own tasks' processes, whatever the agent knows of them."""

# By its own exit, or because the old server still holds the socket: sysexits.h, EX_CONFIG.
_EXPECTED_ENDS = (-signal.SIGKILL, 78)


class CrashAgent(Agent):
    """A running farspawnd with a failpoint. Whenever its keeper ends, it is started again on the same directory."""

    def __init__(self, directory: Path, failpoint: str = "", victim: str = "self") -> None:
        """Start it; `failpoint` is one of `farspawn_core.failpoint.NAMES`, empty: none."""
        self._flag = directory / "struck"
        self._flag.touch()
        self._environment = {"FARSPAWN_FAILPOINT": f"{failpoint}:{victim}:{self._flag}"} if failpoint else {}
        self._starting = threading.Lock()
        self._closing = False  # guarded by _starting
        self.deaths: list[int] = []
        self._deaths_before = 0
        super().__init__(directory, environment=self._environment)
        self._systemd = threading.Thread(target=self._start_again, name="systemd", daemon=True)
        self._systemd.start()

    def arm(self) -> None:
        """Let the failpoint strike when it is reached next."""
        self._deaths_before = len(self.deaths)
        self._flag.unlink()

    @property
    def struck(self) -> bool:
        """Whether it has, since `arm`."""
        return self._flag.exists()

    @property
    def keeper_was_killed(self) -> bool:
        """Whether any keeper was."""
        return -signal.SIGKILL in self.deaths

    @property
    def keeper_was_struck(self) -> bool:
        """Whether one was killed since `arm`."""
        return -signal.SIGKILL in self.deaths[self._deaths_before :]

    def until_struck_and_back(self) -> None:
        """Wait until the failpoint has struck, and a server that was started after that serves."""
        until(lambda: self.struck)
        struck_at = self._flag.stat().st_mtime_ns
        until(lambda: self._serves_since(struck_at), every=0.02)

    def until_back(self, moment_ns: int) -> None:
        """Wait until a server serves that was started after a moment of the wall clock."""
        until(lambda: self._serves_since(moment_ns), every=0.02)

    def _serves_since(self, moment_ns: int) -> bool:
        site = self.call(self.stub.GetSite, pb.GetSiteRequest()).site
        return site.state == site_pb2.SITE_STATE_SERVING and site.server_started.ToNanoseconds() > moment_ns

    def call(self, method: grpc.UnaryUnaryMultiCallable[_Request, _Reply], request: _Request) -> _Reply:
        """Call until there is an answer, as a client does whose site may be down for a moment."""
        replies: list[_Reply] = []

        def is_answered() -> bool:
            try:
                replies.append(method(request, timeout=PATIENCE, wait_for_ready=True))
            except grpc.RpcError as error:
                if _code(error) is not grpc.StatusCode.UNAVAILABLE:
                    raise
                return False
            return True

        until(is_answered)
        return replies[0]

    def kill_server_only(self) -> None:
        """Kill the server; the keeper starts another."""
        server = until(lambda: self.server_pid)
        os.kill(server, signal.SIGKILL)  # the keeper's child: if it is reaped between the two lines, nobody has its pid

    def kill_keeper_only(self) -> None:
        """Kill the keeper; its server ends by itself, and another keeper is started."""
        os.kill(self.keeper_pid, signal.SIGKILL)  # our child; `_start_again` reaps it after this

    @contextmanager
    def down(self) -> Iterator[None]:
        """Kill keeper and server, and start none again before the end of this."""
        with self._starting:
            self.kill_keeper()
            yield

    def reload(self) -> int:
        """Run `farspawnd reload` and return its exit code."""
        command = farspawnd("--state", str(self.state), "reload")
        return subprocess.run(command, env=plain_environment(), capture_output=True, check=False).returncode

    def close(self) -> None:
        """End the agent and every process of its tasks."""
        with self._starting:
            self._closing = True
        try:
            super().close()
        finally:
            for process in marked(self.directory):
                proc.send(process, signal.SIGKILL)

    def _start_again(self) -> None:
        while True:
            code = self._process.wait()
            with self._starting:
                if self._closing:
                    return
                self.deaths.append(code)
                with self._log.open("ab") as log:
                    self._process = subprocess.Popen(
                        farspawnd("--state", str(self.state), "--listen", self.address),
                        env={**plain_environment(), **self._environment},
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=log,
                        start_new_session=True,
                    )

    def check_deaths(self) -> None:
        """Fail if a keeper ended otherwise than by being killed, or being told that the old server is still there."""
        assert set(self.deaths) <= set(_EXPECTED_ENDS), self.deaths


def shim_of(run: str) -> proc.Process:
    """Return the shim of a run that lives."""
    return next(each for each in _alive() if each.name == shim.NAME and _words(each.pid) == [shim.NAME, run])


def marked(directory: Path) -> list[proc.Process]:
    """Return every live process that carries this directory's mark."""
    return [process for process in _alive() if proc.environment_value(process.pid, MARK) == str(directory)]


def _words(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text(encoding="ascii").split("\0")[:-1]
    except (FileNotFoundError, ProcessLookupError):
        return []


def _alive() -> Iterator[proc.Process]:
    for pid in proc.everything():
        if (process := proc.read(pid)) is not None and process.alive:
            yield process


def _code(error: grpc.RpcError) -> grpc.StatusCode:
    code: Callable[[], grpc.StatusCode] = error.code
    return code()
