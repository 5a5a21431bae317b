"""What a client was ever told of each task, and the laws that it must keep: a final state is for ever.

A recorder watches all tasks over every restart of the agent, resuming where the last stream broke, and takes the
statuses of other calls besides.
"""

from __future__ import annotations

import itertools
import threading
from collections import defaultdict
from collections.abc import Sequence
from types import TracebackType
from typing import Self

import grpc

from farspawn.v1 import launcher_pb2 as pb
from farspawn.v1 import task_pb2
from farspawn.v1.launcher_pb2_grpc import TaskLauncherStub
from support.agent import FINAL
from support.waiting import PATIENCE, until

# Within one attempt a task only goes to the right; PENDING comes after an attempt, before the next.
_ORDER = (
    task_pb2.TASK_STATE_STARTING,
    task_pb2.TASK_STATE_RUNNING,
    task_pb2.TASK_STATE_STOPPING,
    task_pb2.TASK_STATE_PENDING,
)


class Recorder:
    """Watches a site. Use it as a context manager."""

    def __init__(self, stub: TaskLauncherStub) -> None:
        self._stub = stub
        self._lock = threading.Lock()
        self._seen: dict[str, dict[int, task_pb2.TaskStatus]] = defaultdict(dict)  # guarded by _lock
        self._broken: list[str] = []  # guarded by _lock: laws
        self._revision = 0
        self._over = False
        self._stream: grpc.Call | None = None
        self._thread = threading.Thread(target=self._watch, name="recorder", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over = True
        if self._stream is not None:
            self._stream.cancel()
        self._thread.join(PATIENCE)

    def note(self, status: task_pb2.TaskStatus) -> task_pb2.TaskStatus:
        """Take in what a call was told."""
        with self._lock:
            known = self._seen[status.uid].setdefault(status.revision, status)
            if known != status:
                self._broken.append(f"two statuses of revision {status.revision}: {known} and {status}")
        return status

    def until_seen(self, revision: int) -> None:
        """Wait until the watch has come to a revision."""
        until(lambda: self._revision >= revision)

    def last(self, uid: str) -> task_pb2.TaskStatus | None:
        """Return the newest status of a task."""
        with self._lock:
            seen = self._seen.get(uid)
            return seen[max(seen)] if seen else None

    def broken_laws(self) -> list[str]:
        """Return what contradicts what."""
        with self._lock:
            histories = [[seen[revision] for revision in sorted(seen)] for seen in self._seen.values()]
            broken = list(self._broken)
        for history in histories:
            broken += [
                f"{before} became {after}" for before, after in itertools.pairwise(history) if not _may(before, after)
            ]
        return broken

    def _watch(self) -> None:
        while not self._over:
            request = pb.WatchTasksRequest(since_revision=self._revision)
            stream = self._stub.WatchTasks(request, wait_for_ready=True, timeout=PATIENCE)
            self._stream = stream
            if self._over:
                stream.cancel()
            try:
                for event in stream:
                    self._take(event)
            except grpc.RpcError:
                continue  # the server is gone: go on with the next one

    def _take(self, event: pb.WatchTasksResponse) -> None:
        match event.WhichOneof("event"):
            case "changed":
                if event.changed.revision <= self._revision:
                    with self._lock:
                        self._broken.append(f"after revision {self._revision} came {event.changed}")
                self.note(event.changed)
                self._revision = event.changed.revision
            case "checkpoint":
                self._revision = max(self._revision, event.checkpoint.revision)
            case _:
                pass  # a deletion


def _may(before: task_pb2.TaskStatus, after: task_pb2.TaskStatus) -> bool:
    """Whether a task could have gone from one to the other."""
    if before.state in FINAL or after.attempt < before.attempt:
        return False
    if after.attempt > before.attempt:
        return len(after.earlier_attempts) >= len(before.earlier_attempts)
    same_process = before.pid in (0, after.pid)
    return (
        same_process and _starts_with(after.earlier_attempts, before.earlier_attempts) and _rank(before) <= _rank(after)
    )


def _rank(status: task_pb2.TaskStatus) -> int:
    return _ORDER.index(status.state) if status.state in _ORDER else len(_ORDER)


def _starts_with(longer: Sequence[task_pb2.Attempt], shorter: Sequence[task_pb2.Attempt]) -> bool:
    # A stop between two attempts makes the last of the earlier ones the task's own outcome.
    return list(longer[: len(shorter)]) == list(shorter) or len(longer) == len(shorter) - 1
