"""Poll, against a handler that does nothing.

Ours: Poll of running tasks, answered at once. Baseline: a grpc.aio server in a process of its own that gives the same
bytes back as a ready message, from a handler of the same shape (stream-unary, see rpc/handlers.py) and, as a second
baseline, from a plain unary one. The client is the same: one grpc.aio process, 16 calls in flight, a Unix socket.

The client works as hard as the server, so calls a second flatter us on two cores or more: the CPU time that the server
itself needs for a call is given beside it, and there less is better.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import grpc
from benchmarks._agent import Agent, running_agent, scratch
from benchmarks._cost import Others, cpu_seconds
from benchmarks._report import Figure, report
from benchmarks._worker import serving, work

from farspawn.v1 import launcher_pb2 as pb
from farspawn.v1 import launcher_pb2_grpc, task_pb2

ROUNDS = 5
SECONDS = 1.5
IN_FLIGHT = 16
IDS = (1, 16)
TARGET = 0.8


@dataclass(slots=True)
class Side:
    """One contender: where it is, and what it reached, round by round."""

    address: str
    method: str
    pid: int
    rates: list[float] = field(default_factory=list)
    microseconds: list[float] = field(default_factory=list)

    def measure(self, task_ids: list[str]) -> None:
        """Measure a round."""
        before = cpu_seconds(self.pid)
        told = work("_polls", self.address, self.method, SECONDS, IN_FLIGHT, *task_ids)
        used = cpu_seconds(self.pid) - before
        self.rates.append(told["calls"] / told["seconds"])
        self.microseconds.append(used / (told["calls"] + told["warm_up_calls"]) * 1e6)


@contextlib.contextmanager
def empty_server(directory: Path, answer: pb.PollResponse) -> Iterator[tuple[str, int]]:
    """Yield address and pid of a server that gives this answer."""
    file = directory / "answer"
    file.write_bytes(answer.SerializeToString())
    address = f"unix:{directory}/empty.sock"
    with serving("_empty_server", address, file) as pid:
        yield address, pid


def launch(agent: Agent, number: int) -> tuple[list[str], pb.PollResponse]:
    """Launch tasks that stay, and return their ids and what Poll says of them."""
    with grpc.insecure_channel(agent.address) as channel:
        stub = launcher_pb2_grpc.TaskLauncherStub(channel)
        spec = task_pb2.TaskSpec(argv=["sleep", "100000"])
        task_ids = [stub.LaunchTask(pb.LaunchTaskRequest(spec=spec)).task.status.task_id for _ in range(number)]
        return task_ids, stub.Poll(pb.PollRequest(task_ids=task_ids))


def compare(agent: Agent, directory: Path, number: int, disturbed: list[float]) -> list[Figure]:
    """Measure Poll of so many ids, in turns with its baselines; add to `disturbed` what others used meanwhile."""
    task_ids, answer = launch(agent, number)
    directory.mkdir()
    with empty_server(directory, answer) as (address, pid):
        ours = Side(agent.address, "Poll", agent.server)
        baselines = {
            "empty handler, stream-unary": Side(address, "Poll", pid),
            "empty handler, unary": Side(address, "UnaryPoll", pid),
        }
        others = Others(agent.keeper, agent.server, pid)
        for _ in range(ROUNDS):
            others.share()
            for side in (ours, *baselines.values()):
                side.measure(task_ids)
            disturbed.append(round(others.share(), 2))
    name = f"poll of {number} running"
    rates = [
        Figure(name, "calls/s", ours.rates, other, side.rates, TARGET if side.method == "Poll" else None)
        for other, side in baselines.items()
    ]
    times = [
        Figure(f"{name}, server's CPU", "µs/call", ours.microseconds, other, side.microseconds)
        for other, side in baselines.items()
    ]
    return rates + times


def main() -> None:
    """Measure each number of ids."""
    with scratch() as directory, running_agent(directory / "state") as agent:
        disturbed: list[float] = []
        figures = [figure for number in IDS for figure in compare(agent, directory / str(number), number, disturbed)]
    details = {"calls in flight": IN_FLIGHT, "share of the machine used by others, round by round": disturbed}
    report("poll", figures, details)


if __name__ == "__main__":
    main()
