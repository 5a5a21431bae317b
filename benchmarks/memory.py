"""Memory and idle CPU time of keeper and server, with 0, 1,000 and 5,000 running tasks that do nothing.

Baseline: a bare interpreter, for the keeper; one that has imported grpc.aio, for the server. Resident memory counts
shared pages in full; the proportional set size beside it does not. A ratio says how many times the baseline; here less
is better.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import subprocess
import sys
import time
from collections.abc import Iterator

import grpc
from benchmarks._agent import Agent, running_agent, scratch, shims_of
from benchmarks._cost import Memory, cpu_seconds, memory
from benchmarks._report import Figure, report

from farspawn.v1 import launcher_pb2 as pb
from farspawn.v1 import launcher_pb2_grpc, task_pb2

TASKS = (0, 1000, 5000)
IDLE_SECONDS = 10.0
_IN_FLIGHT = 32
_SETTLE_SECONDS = 1.0


@contextlib.contextmanager
def interpreter(imports: str) -> Iterator[Memory]:
    """Yield the memory of an interpreter that has imported something and does nothing."""
    script = f"import sys; {imports}; print(flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield memory(process.pid)


async def launch(address: str, number: int) -> None:
    """Launch so many tasks that stay."""
    turns = itertools.count()
    request = pb.LaunchTaskRequest(spec=task_pb2.TaskSpec(argv=["sleep", "100000"]))
    async with grpc.aio.insecure_channel(address) as channel:
        stub: launcher_pb2_grpc.TaskLauncherAsyncStub = launcher_pb2_grpc.TaskLauncherStub(channel)

        async def run() -> None:
            while next(turns) < number:
                launched = await stub.LaunchTask(request)
                assert launched.task.status.state == task_pb2.TASK_STATE_RUNNING, launched.task.status

        await asyncio.gather(*(run() for _ in range(_IN_FLIGHT)))


def idle_cpu(agent: Agent) -> tuple[float, float]:
    """Return how many seconds of CPU time keeper and server use while nobody asks them anything."""
    before = cpu_seconds(agent.keeper), cpu_seconds(agent.server)
    time.sleep(IDLE_SECONDS)
    return cpu_seconds(agent.keeper) - before[0], cpu_seconds(agent.server) - before[1]


def measure(agent: Agent, tasks: int, bare: Memory, with_grpc: Memory) -> tuple[list[Figure], dict[str, object]]:
    """Return memory and idle CPU time as they are with so many tasks."""
    time.sleep(_SETTLE_SECONDS)
    keeper_cpu, server_cpu = idle_cpu(agent)
    keeper, server = memory(agent.keeper), memory(agent.server)
    figures = [
        Figure(f"keeper, {tasks} tasks", "MiB", [keeper.resident], "bare interpreter", [bare.resident]),
        Figure(f"server, {tasks} tasks", "MiB", [server.resident], "with grpc.aio imported", [with_grpc.resident]),
    ]
    details: dict[str, object] = {
        "MiB proportional, keeper": keeper.proportional,
        "MiB proportional, server": server.proportional,
        f"s CPU in {IDLE_SECONDS:g} s, keeper": keeper_cpu,
        f"s CPU in {IDLE_SECONDS:g} s, server": server_cpu,
    }
    return figures, details


def of_one_task(agent: Agent, tasks: int, idle: float) -> Figure:
    """Return what a running task takes of all our processes together, shims included, beside what was promised."""
    shims = sum(memory(pid).proportional for pid in shims_of(agent.keeper))
    grown = memory(agent.keeper).proportional + memory(agent.server).proportional - idle
    return Figure(f"all of ours, of each of {tasks} tasks", "KiB", [(shims + grown) * 1024 / tasks], "promised", [64.0])


def main() -> None:
    """Measure with more and more tasks."""
    figures: list[Figure] = []
    details: dict[str, object] = {}
    with (
        interpreter("pass") as bare,
        interpreter("import grpc.aio") as with_grpc,
        scratch() as directory,
        running_agent(directory / "state") as agent,
    ):
        there = 0
        idle = memory(agent.keeper).proportional + memory(agent.server).proportional
        for tasks in TASKS:
            began = time.monotonic()
            asyncio.run(launch(agent.address, tasks - there))
            if tasks > there:
                rate = (tasks - there) / (time.monotonic() - began)
                details[f"launched a second, from {there} to {tasks} tasks"] = round(rate)
            there = tasks
            more, explained = measure(agent, tasks, bare, with_grpc)
            figures += more
            if tasks:
                figures.append(of_one_task(agent, tasks, idle))
            details[f"with {tasks} tasks"] = explained
        began = time.monotonic()
    details["seconds to kill all of them and end the agent"] = round(time.monotonic() - began, 1)
    report("memory", figures, details)


if __name__ == "__main__":
    main()
