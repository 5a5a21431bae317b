"""A real agent in a directory of its own: keeper, server and a channel to it, and nothing of it left in the end.

What it starts it ends, by pid; and a process that is left over without a task fails the test that left it.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

import grpc
from google.protobuf.duration_pb2 import Duration
from grpc_health.v1 import health_pb2, health_pb2_grpc

from farspawn._address import address_of
from farspawn.v1 import launcher_pb2 as pb
from farspawn.v1 import task_pb2
from farspawn.v1.launcher_pb2_grpc import TaskLauncherStub
from farspawn_core import proc
from support.waiting import PATIENCE, until

SERVING = health_pb2.HealthCheckResponse.SERVING
FINAL = (task_pb2.TASK_STATE_EXITED, task_pb2.TASK_STATE_FAILED, task_pb2.TASK_STATE_LOST)
LIVE = (
    task_pb2.TASK_STATE_PENDING,
    task_pb2.TASK_STATE_STARTING,
    task_pb2.TASK_STATE_RUNNING,
    task_pb2.TASK_STATE_STOPPING,
)
AT_ONCE = task_pb2.StopPlan(linger=Duration(), drain=Duration(), grace=Duration())
"""The stop that is SIGKILL, now."""

_CHANNEL_OPTIONS = (
    # A restarted server is to be found again in milliseconds.
    ("grpc.initial_reconnect_backoff_ms", 20),
    ("grpc.min_reconnect_backoff_ms", 20),
    ("grpc.max_reconnect_backoff_ms", 100),
)


def farspawnd(*options: str) -> list[str]:
    """Return the command of the agent; nothing of it depends on the PATH."""
    return [sys.executable, "-P", "-m", "farspawn_server", *options]


def plain_environment() -> dict[str, str]:
    """Return our environment without what would configure an agent or a client, but with the shim to be tested."""
    return {n: value for n, value in os.environ.items() if n == "FARSPAWN_SHIM" or not n.startswith("FARSPAWN")}


class Agent:
    """A running farspawnd. Use it as a context manager: on leaving it is ended, and so is all that it started."""

    def __init__(
        self,
        directory: Path,
        *options: str,
        listen: str = "",
        environment: Mapping[str, str] = {},  # never changed
        credentials: grpc.ChannelCredentials | None = None,
        serving: bool = True,
    ) -> None:
        """Start an agent and wait until it serves.

        Args:
            directory: for its state and socket, see `short_directory`.
            options: more words for the command line.
            listen: its address; empty: a socket in the directory.
            environment: added to ours.
            credentials: for our channel; None: it is a plain one.
            serving: False: do not wait.
        """
        self.directory = directory
        self.address = listen or f"unix:{directory}/a.sock"
        self._log = directory / "agent.log"
        self._log_seen = 0
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                farspawnd("--state", str(self.state), "--listen", self.address, *options),
                env={**plain_environment(), **environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.channel = (
            grpc.insecure_channel(address_of(self.address, {}, 0).uri, options=_CHANNEL_OPTIONS)
            if credentials is None
            else grpc.secure_channel(self.address, credentials, options=_CHANNEL_OPTIONS)
        )
        self.stub: TaskLauncherStub = TaskLauncherStub(self.channel)
        self._known: set[tuple[int, int]] = set()
        if serving:
            try:
                self.until_serving()
            except BaseException:
                self.close()
                raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def state(self) -> Path:
        """The state directory."""
        return self.directory / "state"

    @property
    def log(self) -> str:
        """All that keeper and server said so far."""
        return self._log.read_text(encoding="utf-8", errors="replace")

    @property
    def keeper_pid(self) -> int:
        """The pid of the keeper."""
        return self._process.pid

    @property
    def server_pid(self) -> int:
        """The pid of the server that runs now; between two, it is waited for."""
        pid = until(self._server_pid)
        assert pid is not None
        return pid

    def _server_pid(self) -> int | None:
        return next((pid for pid in proc.children(self.keeper_pid) if _is_server(pid)), None)

    def health(self, service: str = "") -> int:
        """Return what the health service says; -1 if nobody answers."""
        request = health_pb2.HealthCheckRequest(service=service)
        try:
            status: int = health_pb2_grpc.HealthStub(self.channel).Check(request, timeout=5, wait_for_ready=True).status
        except grpc.RpcError:
            return -1
        return status

    def until_serving(self) -> None:
        """Wait until the agent takes tasks."""
        until(lambda: self.health() == SERVING or self._ended(), every=0.02)
        assert self._process.poll() is None, f"the agent has ended:\n{self.log}"

    def _ended(self) -> bool:
        return self._process.poll() is not None

    def kill_server(self) -> None:
        """Kill the server, and wait until the next one serves."""
        killed = self.server_pid
        os.kill(killed, signal.SIGKILL)
        until(lambda: self._server_pid() not in (None, killed))
        self.until_serving()

    def kill_keeper(self) -> None:
        """Kill the keeper, and wait until its server is gone too."""
        self._note_processes()
        server = self.server_pid
        key = None if (process := proc.read(server)) is None else process.key
        self._process.kill()
        self._process.wait(PATIENCE)
        until(lambda: (now := proc.read(server)) is None or now.key != key or not now.alive)

    def terminate(self) -> None:
        """Ask for a shutdown: SIGTERM. The second time, everything is killed."""
        self._process.terminate()

    def wait(self, timeout: float = PATIENCE) -> int:
        """Wait for the agent's end and return its exit code."""
        return self._process.wait(timeout)

    def stop(self) -> int:
        """Ask for a shutdown, wait for it, and return the exit code."""
        self.terminate()
        return self.wait()

    def task_processes(self) -> list[proc.Process]:
        """Return every live process that belongs to a task: what the keeper has below it, but for server and shims."""
        found: dict[int, proc.Process] = {}
        pending: list[int] = []
        for child in map(proc.read, proc.children(self.keeper_pid)):
            if child is not None and not _is_server(child.pid):
                pending.extend(proc.children(child.pid) if child.name == "farspawn-shim" else [child.pid])
        while pending:
            process = proc.read(pending.pop())
            if process is not None and process.pid not in found:
                pending.extend(proc.children(process.pid))
                if process.alive:
                    found[process.pid] = process
        return list(found.values())

    def clear(self) -> None:
        """End all tasks that live. Fails if a process has no task, if one outlives its task, or the agent has erred."""
        live = self.live_tasks()
        theirs = {task.uid for task in live}
        left = [each for each in self.task_processes() if (uid := _uid(each.pid)) is not None and uid not in theirs]
        for task in live:
            self.stub.StopTask(pb.StopTaskRequest(task_id=task.uid, plan=AT_ONCE))  # an admin names others' tasks so
        for task in live:
            until_ended(self.stub, task.uid)
        left += self.task_processes()
        for each in left:
            proc.send(each, signal.SIGKILL)
        assert not left, f"processes without a task: {left}"
        self.check_log()

    def check_log(self) -> None:
        """Fail if keeper or server ran into an error of their own since the last look."""
        said = self.log[self._log_seen :]
        self._log_seen += len(said)
        assert "Traceback" not in said, said

    def live_tasks(self) -> list[task_pb2.TaskStatus]:
        """Return the tasks that have not ended."""
        reply = self.stub.ListTasks(pb.ListTasksRequest(filter=pb.TaskFilter(states=LIVE), page_size=1000))
        return [task.status for task in reply.tasks]

    def close(self) -> None:
        """End the agent and all that it started, the hard way if need be. Fails if a process was left over."""
        self._note_processes()
        if not self._ended():
            self.terminate()
            self.terminate()
        try:
            self.wait()
        except subprocess.TimeoutExpired:
            self._note_processes()
            self._process.kill()
            self.wait()
        self.channel.close()
        left = self._left()
        for process in left:
            proc.send(process, signal.SIGKILL)
        print(self.log)  # pytest shows it beside a failure
        assert not left, f"left over when the agent had ended: {left}"

    def _note_processes(self) -> None:
        self._known |= {process.key for process in self.task_processes()}

    def _left(self) -> list[proc.Process]:
        found = (proc.read(pid) for pid, _ in self._known)
        return [process for process in found if process is not None and process.alive and process.key in self._known]


def until_ended(stub: TaskLauncherStub, task_id: str, timeout: float = PATIENCE) -> task_pb2.TaskStatus:
    """Follow a task by long polls and return its final status."""
    revision = 0

    def final() -> task_pb2.TaskStatus | None:
        nonlocal revision
        request = pb.PollRequest(task_ids=[task_id], wait=Duration(seconds=1), since_revision=revision)
        reply = stub.Poll(request, timeout=PATIENCE)
        assert not reply.unknown_task_ids, f"no task {task_id}"
        revision = reply.revision
        return next((status for status in reply.statuses if status.state in FINAL), None)

    status = until(final, timeout)
    assert status is not None
    return status


@contextmanager
def short_directory() -> Iterator[Path]:
    """Make a directory whose path leaves room for a socket's 107 bytes."""
    path = Path(tempfile.mkdtemp(prefix="fs-", dir="/tmp"))
    try:
        yield path
    finally:
        shutil.rmtree(path)


def _is_server(pid: int) -> bool:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except (FileNotFoundError, ProcessLookupError):
        return False
    # Not anywhere: the keeper's own command, which a child has until its program is executed, holds it too.
    return words[1:6] == [b"-X", b"utf8", b"-P", b"-m", b"farspawn_server.rpc"]


def _uid(pid: int) -> str | None:
    return proc.environment_value(pid, "FARSPAWN_TASK_UID")
