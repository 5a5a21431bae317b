"""ReadLogs, against a stream that costs its server nothing but sending.

Ours: the log of an ended task, 256 MiB in chunks of 64 KiB, alone, and beside 100 followed logs that grow. Baseline: a
grpc.aio server in a process of its own that sends as many ready chunks of that size, in the same place. The client is
the same: one grpc.aio process, a Unix socket. The CPU time that the server needs for a chunk is given beside it, and
there less is better; it is not what the client waits for, for gRPC sends in a thread of its own.
"""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import grpc
from benchmarks._agent import Agent, running_agent, scratch
from benchmarks._cost import cpu_seconds
from benchmarks._empty_streams import CHUNK_BYTES
from benchmarks._report import Figure, report
from benchmarks._worker import command, root, serving, work

from farspawn.v1 import launcher_pb2 as pb
from farspawn.v1 import launcher_pb2_grpc, task_pb2

ROUNDS = 7
CHUNKS = 4096
FOLLOWED = 100
TARGET = 0.8

# Ten lines a second each: with their shims, what writes costs as much as what reads.
GROWS = ["/bin/sh", "-c", "while :; do echo 'one line of a training program, with a loss of 0.1234'; sleep 0.1; done"]


@dataclass(slots=True)
class Side:
    """One contender: where it is, what it is asked for, and what it reached, round by round.

    `in_memory`: files that are read before each round.
    """

    address: str
    pid: int
    offset: int
    task_id: str = "none"
    in_memory: Sequence[Path] = ()
    rates: list[float] = field(default_factory=list)
    microseconds: list[float] = field(default_factory=list)

    def measure(self) -> None:
        """Measure a round."""
        for file in self.in_memory:
            file.read_bytes()  # what others need memory for may have been taken from it
        before = cpu_seconds(self.pid)
        told = work("_log_reads", self.address, self.offset, self.task_id)
        self.rates.append(told["bytes"] / told["seconds"] / 1e9)
        self.microseconds.append((cpu_seconds(self.pid) - before) / (told["bytes"] / CHUNK_BYTES) * 1e6)


def launch(agent: Agent, argv: Sequence[str], number: int = 1) -> list[str]:
    """Launch tasks and return their ids."""
    with grpc.insecure_channel(agent.address) as channel:
        stub = launcher_pb2_grpc.TaskLauncherStub(channel)
        request = pb.LaunchTaskRequest(spec=task_pb2.TaskSpec(argv=argv))
        return [stub.LaunchTask(request).task.status.task_id for _ in range(number)]


def written(agent: Agent) -> str:
    """Launch a task that writes the log, wait for its end, and return its id."""
    (task_id,) = launch(agent, ["head", "-c", str(CHUNKS * CHUNK_BYTES), "/dev/zero"])
    with grpc.insecure_channel(agent.address) as channel:
        stub = launcher_pb2_grpc.TaskLauncherStub(channel)
        *_, last = stub.ReadLogs(pb.ReadLogsRequest(task_id=task_id, tail_lines=0, follow=True))
        assert last.end.complete
    return task_id


@contextlib.contextmanager
def following(agent: Agent, task_ids: Sequence[str]) -> Iterator[None]:
    """Follow logs from another process."""
    with subprocess.Popen(
        command("_streams", agent.address, 0, *task_ids), cwd=root(), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline(), "the streams did not open"
        yield
        holder.kill()


def compare(name: str, agent: Agent, task_id: str) -> tuple[Figure, dict[str, float]]:
    """Measure reading a log in turns with the baseline; return the figure, and microseconds of CPU a chunk."""
    address = f"unix:{agent.state}/empty.sock"
    files = [file for file in (agent.state / "logs").iterdir() if file.stat().st_size == CHUNKS * CHUNK_BYTES]
    with serving("_empty_streams", address) as pid:
        ours, empty = Side(agent.address, agent.server, 0, task_id, files), Side(address, pid, CHUNKS)
        for _ in range(ROUNDS):
            empty.measure()
            ours.measure()
    figure = Figure(name, "GB/s", ours.rates, "an empty stream", empty.rates, TARGET)
    cost = Figure("", "", ours.microseconds, "", empty.microseconds)
    return figure, {f"{name}: ours": cost.median, f"{name}: empty": cost.baseline_median}


def main() -> None:
    """Measure alone, then beside followers."""
    with scratch() as directory, running_agent(directory / "state") as agent:
        task_id = written(agent)
        alone, cost_alone = compare("a log", agent, task_id)
        with following(agent, launch(agent, GROWS, FOLLOWED)):
            beside, cost_beside = compare(f"a log beside {FOLLOWED} followed", agent, task_id)
    report("logs", [alone, beside], {"µs of CPU of the server for each chunk": {**cost_alone, **cost_beside}})


if __name__ == "__main__":
    main()
