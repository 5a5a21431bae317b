"""The agent under test, and whoever would look after it on a real machine: its parent, who restarts it and reaps.

Like an init system, we are the reaper of whatever a dead keeper leaves. So nothing that a task started can hide: in
the end it is our child, or it is gone.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from random import Random

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from support.agent import farspawnd, plain_environment

from chaos.traps import Traps
from farspawn_core import proc, shim, spawn
from farspawn_core._libc import become_subreaper

PATIENCE = 60.0
CHANNEL_OPTIONS = (
    ("grpc.initial_reconnect_backoff_ms", 20),
    ("grpc.min_reconnect_backoff_ms", 20),
    ("grpc.max_reconnect_backoff_ms", 200),
)
_UID = "FARSPAWN_TASK_UID"


class Site:
    """One farspawnd that is always started again. Used from one event loop."""

    def __init__(self, directory: Path, dice: Random, traps: Traps) -> None:
        """Describe the site in a directory whose path is short."""
        self.directory = directory
        self.address = f"unix:{directory}/s/a.sock"
        self.log = directory / "agent.log"
        self.keeper = 0
        self.incidents: list[str] = []
        self._dice = dice
        self._traps = traps
        self._exits: dict[int, asyncio.Future[int]] = {}
        self._expected_dead: set[int] = set()
        self._calm = False
        self._ending = False
        self._guard: asyncio.Task[None] | None = None

    @property
    def evidence(self) -> Path:
        """The file that the tasks write to."""
        return self.directory / "evidence"

    async def start(self) -> None:
        """Start the agent and wait until it serves."""
        become_subreaper()
        asyncio.get_running_loop().add_signal_handler(signal.SIGCHLD, self._reap)
        (self.directory / "s").mkdir(mode=0o700)
        self._guard = asyncio.create_task(self._keep_alive())
        if not await self.serves(PATIENCE):
            raise TimeoutError(f"the agent does not serve: see {self.log}")

    async def serves(self, within: float) -> bool:
        """Wait until the agent takes tasks; return False if it does not within so many seconds."""
        request = health_pb2.HealthCheckRequest()
        async with grpc.aio.insecure_channel(self.address, options=CHANNEL_OPTIONS) as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            try:
                async with asyncio.timeout(within):
                    while True:
                        try:
                            answer = await stub.Check(request, timeout=5, wait_for_ready=True)
                            if answer.status == health_pb2.HealthCheckResponse.SERVING:
                                return True
                        except grpc.RpcError:
                            pass  # it dies while it answers: ask the next one
                        await asyncio.sleep(0.02)
            except TimeoutError:
                return False

    @property
    def server(self) -> int:
        """The pid of the server that runs now; 0 between two."""
        found = (pid for pid in proc.children(self.keeper) if _is_server(pid)) if self.keeper else iter(())
        return next(found, 0)

    @property
    def shims(self) -> dict[str, proc.Process]:
        """The shims that live, by their runs: children of the keeper, or, when theirs has died, of ours."""
        children = (proc.read(pid) for parent in {self.keeper, os.getpid()} - {0} for pid in proc.children(parent))
        found = (each for each in children if each is not None and each.alive and each.name == shim.NAME)
        return {words[1]: each for each in found if len(words := _words(each.pid)) == 2}

    def kill_keeper(self) -> None:
        """SIGKILL for the keeper, if there is one."""
        if self.keeper and (process := proc.read(self.keeper)) is not None and process.alive:
            self._expected_dead.add(self.keeper)
            proc.send(process, signal.SIGKILL)

    async def run(self, *command: str) -> int:
        """Run a command of farspawnd to its end and return its exit code, or minus its signal."""
        return await self._spawn(farspawnd("--state", str(self.directory / "state"), *command), {})[1]

    def calm(self) -> None:
        """From now on nothing strikes from within."""
        self._calm = True
        self._traps.disarm()

    async def stop(self) -> int:
        """Shut the agent down and return its exit code."""
        self._ending = True
        os.kill(self.keeper, signal.SIGTERM)
        assert self._guard is not None
        async with asyncio.timeout(PATIENCE):
            await self._guard
        return await self._exits[self.keeper]

    def traces(self, uid: str) -> list[proc.Process]:
        """Return the live processes that carry this uid."""
        found = (proc.read(pid) for pid in proc.everything() if proc.environment_value(pid, _UID) == uid)
        return [process for process in found if process is not None and process.alive]

    def below(self) -> list[proc.Process]:
        """Return every live process that we, the agent or a task started, except the agent."""
        found: dict[int, proc.Process] = {}
        pending = proc.children(os.getpid())
        while pending:
            process = proc.read(pending.pop())
            if process is not None and process.pid not in found:
                pending.extend(proc.children(process.pid))
                found[process.pid] = process
        server = self.server
        return [each for each in found.values() if each.alive and each.pid not in (self.keeper, server)]

    def end_all(self) -> None:
        """End what is left, by pid: the agent first, so that it starts nothing again."""
        self._ending = True
        while left := [pid for pid in proc.children(os.getpid()) if (it := proc.read(pid)) is not None and it.alive]:
            for pid in sorted(left, key=lambda pid: pid != self.keeper):
                os.kill(pid, signal.SIGKILL)  # our own child
                self._expected_dead.add(pid)
                os.waitpid(pid, 0)  # its children become ours

    async def _keep_alive(self) -> None:
        while not self._ending:
            options = ("--state", str(self.directory / "state"), "--listen", self.address)
            trap = {} if self._calm else self._traps.arm()
            self.keeper, ended = self._spawn(farspawnd(*options), trap)
            pid, code = self.keeper, await ended
            if self._ending:
                return
            if not (self._traps.disarm() or pid in self._expected_dead):
                self.incidents.append(f"the agent ended by itself: exit code {code} (minus: signal) of pid {pid}")
            self.keeper = 0
            await asyncio.sleep(self._dice.choice((0.0, 0.1, 1.0)))  # RestartSec=

    def _spawn(self, argv: list[str], more: Mapping[str, str]) -> tuple[int, asyncio.Future[int]]:
        with self.log.open("ab") as log:
            env = {**plain_environment(), **more}
            pid = spawn(argv, env=env, descriptors=(0, log.fileno(), log.fileno()))
        self._exits[pid] = asyncio.get_running_loop().create_future()
        return pid, self._exits[pid]

    def _reap(self) -> None:
        for pid, status in _ended_children():
            ended = self._exits.get(pid)
            if ended is not None and not ended.done():
                ended.set_result(os.waitstatus_to_exitcode(status))


@contextmanager
def paused(pid: int) -> Iterator[None]:
    """Keep a process stopped."""
    process = proc.read(pid)
    if process is not None:
        proc.send(process, signal.SIGSTOP)
    try:
        yield
    finally:
        if process is not None:
            proc.send(process, signal.SIGCONT)


def _ended_children() -> Iterator[tuple[int, int]]:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        yield pid, status


def _is_server(pid: int) -> bool:
    # Not anywhere: the keeper's own command, which a child has until its program is executed, holds it too.
    return _words(pid)[1:6] == ["-X", "utf8", "-P", "-m", "farspawn_server.rpc"]


def _words(pid: int) -> list[str]:
    try:
        return os.fsdecode(Path(f"/proc/{pid}/cmdline").read_bytes()).split("\0")[:-1]
    except (FileNotFoundError, ProcessLookupError):
        return []
