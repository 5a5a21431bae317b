"""Launching tasks in tests: short forms of common requests, and programs whose processes say who they are."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Mapping, Sequence
from datetime import timedelta

from google.protobuf.duration_pb2 import Duration

from farspawn.v1 import launcher_pb2 as pb
from farspawn.v1 import task_pb2
from farspawn.v1.launcher_pb2_grpc import TaskLauncherStub
from support.processes import Member, python_program
from support.waiting import PATIENCE

_numbers = itertools.count(1)


def new_id(word: str = "task") -> str:
    """Return an id that this test run has not used."""
    return f"{word}-{next(_numbers)}"


def span(seconds: float) -> Duration:
    """Return a Duration."""
    duration = Duration()
    duration.FromTimedelta(timedelta(seconds=seconds))
    return duration


def plan(
    *, linger: float | None = None, drain: float | None = None, signal: int = 0, grace: float | None = None
) -> task_pb2.StopPlan:
    """Return a stop plan, spans in seconds; None: unset."""
    return task_pb2.StopPlan(
        linger=None if linger is None else span(linger),
        drain=None if drain is None else span(drain),
        signal=signal,
        grace=None if grace is None else span(grace),
    )


def launch(
    stub: TaskLauncherStub,
    argv: Sequence[str],
    *,
    task_id: str = "",
    env: Mapping[str, str] = {},  # never changed
    cwd: str = "",
    stop: task_pb2.StopPlan | None = None,
    max_runtime: float | None = None,
    lease: task_pb2.Lease | None = None,
    labels: Mapping[str, str] = {},  # never changed
) -> task_pb2.Task:
    """Launch a task and return it."""
    spec = task_pb2.TaskSpec(
        argv=argv,
        env=env,
        working_directory=cwd,
        stop=stop,
        max_runtime=None if max_runtime is None else span(max_runtime),
        lease=lease,
        labels=labels,
    )
    return stub.LaunchTask(pb.LaunchTaskRequest(task_id=task_id or new_id(), spec=spec), timeout=PATIENCE).task


def status_of(stub: TaskLauncherStub, task_id: str) -> task_pb2.TaskStatus:
    """Return how a task is now."""
    (status,) = stub.Poll(pb.PollRequest(task_ids=[task_id]), timeout=PATIENCE).statuses
    return status


def stop(stub: TaskLauncherStub, task_id: str, how: task_pb2.StopPlan | None = None) -> task_pb2.TaskStatus:
    """Stop a task and return its status."""
    return stub.StopTask(pb.StopTaskRequest(task_id=task_id, plan=how), timeout=PATIENCE).status


def shell(script: str) -> list[str]:
    """Return the command that runs a script."""
    return ["/bin/sh", "-c", script]


def reporting(body: str, *arguments: str) -> list[str]:
    """Return the command of a program of `support.processes` whose processes report on standard output."""
    return python_program(f"os.dup2(1, 3)\n{body}", *arguments)


def python(body: str) -> list[str]:
    """Return the command of a small Python program that starts fast."""
    return [sys.executable, "-I", "-S", "-c", body]


def first_lines(stub: TaskLauncherStub, task_id: str, count: int) -> list[str]:
    """Wait until a task has written so many lines to standard output, and return them."""
    request = pb.ReadLogsRequest(task_id=task_id, follow=True)
    text = b""
    parts = stub.ReadLogs(request, timeout=PATIENCE)
    for part in parts:
        text += part.chunk.data
        if text.count(b"\n") >= count:
            break
    parts.cancel()
    lines = text.decode().splitlines()[:count]
    assert len(lines) == count, f"{task_id} ended after {lines}"
    return lines


def members(stub: TaskLauncherStub, task_id: str, count: int) -> list[Member]:
    """Wait until so many processes of a `reporting` program have reported themselves, and return them."""
    words = (line.split(" ", 2) for line in first_lines(stub, task_id, count))
    return [Member(int(pid), int(started), word) for pid, started, word in words]


def output(stub: TaskLauncherStub, task_id: str, stream: pb.LogStream.ValueType = pb.LOG_STREAM_STDOUT) -> bytes:
    """Return all that a task writes, once it has ended."""
    request = pb.ReadLogsRequest(task_id=task_id, stream=stream, follow=True)
    return b"".join(part.chunk.data for part in stub.ReadLogs(request, timeout=PATIENCE))
