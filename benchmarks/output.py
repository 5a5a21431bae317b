"""A task that writes as fast as it can, against `cat` of the same file into another file.

Ours: `cat FILE` as a task; its shim moves what comes out of the pipe into the task's output. From launch to its end.
Baseline: `cat FILE > OTHER`, by a shell. Both files are on the same disk; FILE is in memory.
"""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import grpc
from benchmarks._agent import running_agent, scratch
from benchmarks._report import Figure, report
from google.protobuf.duration_pb2 import Duration

from farspawn.v1 import launcher_pb2 as pb
from farspawn.v1 import launcher_pb2_grpc, task_pb2

ROUNDS = 5
MEGABYTES = 400
TARGET = 0.5


def ours(stub: launcher_pb2_grpc.TaskLauncherStub, file: Path) -> float:
    """Return how many MB a second a task writes."""
    began = time.perf_counter()
    spec = task_pb2.TaskSpec(argv=["cat", str(file)])
    status = stub.LaunchTask(pb.LaunchTaskRequest(spec=spec)).task.status
    while status.state != task_pb2.TASK_STATE_EXITED:
        question = pb.PollRequest(task_ids=[status.task_id], wait=Duration(seconds=60), since_revision=status.revision)
        status = next(iter(stub.Poll(question).statuses), status)
    took = time.perf_counter() - began
    stub.DeleteTask(pb.DeleteTaskRequest(task_id=status.task_id))
    return MEGABYTES / took


def bare(file: Path, other: Path) -> float:
    """Return how many MB a second `cat` writes."""
    began = time.perf_counter()
    subprocess.run(["sh", "-c", 'exec cat "$1" > "$2"', "sh", file, other], check=True)
    took = time.perf_counter() - began
    other.unlink()
    return MEGABYTES / took


def main() -> None:
    """Measure in turns."""
    rates: tuple[list[float], list[float]] = ([], [])
    with scratch() as directory, running_agent(directory / "state") as agent:
        file = directory / "file"
        file.write_bytes(bytes(MEGABYTES << 20))
        with grpc.insecure_channel(agent.address) as channel:
            stub = launcher_pb2_grpc.TaskLauncherStub(channel)
            for _ in range(ROUNDS):
                rates[1].append(bare(file, directory / "other"))
                rates[0].append(ours(stub, file))
    figure = Figure("a task that only writes", "MB/s", rates[0], "cat into a file", rates[1], TARGET)
    report("output", [figure], {})


if __name__ == "__main__":
    main()
