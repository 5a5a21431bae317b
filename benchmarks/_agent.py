"""A real agent for a benchmark, in a state directory of its own on a disk; ended and removed afterwards."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import grpc

from farspawn.v1 import launcher_pb2 as pb
from farspawn.v1 import launcher_pb2_grpc, site_pb2
from farspawn_core import proc, shim

# By the Filesystem Hierarchy Standard it survives a reboot, so it is on a disk; /tmp may be memory.
_ON_DISK = "/var/tmp"

_START_SECONDS = 30.0
_STOP_SECONDS = 120.0
_OWN_WILL_SECONDS = 1.0


@dataclass(slots=True)
class Agent:
    """One that serves."""

    state: Path
    python: str
    process: subprocess.Popen[bytes] = field(init=False)

    def __post_init__(self) -> None:
        """Start it."""
        self.start()

    @property
    def address(self) -> str:
        """Where it listens, for gRPC."""
        return f"unix:{self.state}/farspawnd.sock"

    @property
    def keeper(self) -> int:
        """The pid of its keeper."""
        return self.process.pid

    @property
    def server(self) -> int:
        """The pid of its server: the one child of the keeper that is no shim."""
        found = (proc.read(pid) for pid in proc.children(self.keeper))
        (server,) = (child.pid for child in found if child is not None and child.name != shim.NAME)
        return server

    def start(self) -> None:
        """Start it, again if it has ended: what systemd would do."""
        command = [self.python, "-P", "-m", "farspawn_server", "--state", str(self.state)]
        with (self.state / "agent.log").open("ab") as log:
            self.process = subprocess.Popen(command, stderr=log)


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """Yield a directory on a disk and remove it afterwards."""
    with tempfile.TemporaryDirectory(prefix="farspawn-bench-", dir=_ON_DISK) as path:
        yield Path(path)


@contextlib.contextmanager
def running_agent(state: Path, python: str = sys.executable) -> Iterator[Agent]:
    """Yield an agent that serves; afterwards kill its tasks and wait until it is gone.

    Args:
        state: its directory, which is made.
        python: the interpreter whose farspawn it is.
    """
    state.mkdir(mode=0o700)
    agent = Agent(state, python)
    try:
        _wait_until_serving(agent.address)
        yield agent
    finally:
        _end(agent.process)


def shims_of(keeper: int) -> list[int]:
    """Return the pids of a keeper's shims."""
    found = (proc.read(pid) for pid in proc.children(keeper))
    return [child.pid for child in found if child is not None and child.name == shim.NAME]


def _wait_until_serving(address: str) -> None:
    give_up_at = time.monotonic() + _START_SECONDS
    with grpc.insecure_channel(address) as channel:
        stub = launcher_pb2_grpc.TaskLauncherStub(channel)
        while True:
            answer = stub.GetSite(pb.GetSiteRequest(), wait_for_ready=True, timeout=_START_SECONDS)
            if answer.site.state == site_pb2.SITE_STATE_SERVING:
                return
            if time.monotonic() > give_up_at:
                raise TimeoutError(f"the agent at {address} does not serve")


def _end(keeper: subprocess.Popen[bytes]) -> None:
    """Ask for the end, then insist: a second SIGTERM kills all tasks."""
    for patience in (_OWN_WILL_SECONDS, _STOP_SECONDS):
        keeper.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            keeper.wait(patience)
            return
    raise TimeoutError(f"the agent with pid {keeper.pid} does not end: it and its tasks are still there")
