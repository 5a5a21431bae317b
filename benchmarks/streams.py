"""What open streams cost: 2,000 watches of everything and 200 followed logs, on one agent.

Memory of the server for each stream; and LaunchTask and Poll of another caller, against the same with no stream open,
just before. With watches of everything each launch is told 2,000 times, so their reader is as busy as the server: this
is the worst case, and the kinds are measured one by one. Less is better.
"""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator

import grpc
from benchmarks._agent import Agent, running_agent, scratch
from benchmarks._cost import memory
from benchmarks._report import Figure, report
from benchmarks._worker import command, root, work

from farspawn.v1 import launcher_pb2 as pb
from farspawn.v1 import launcher_pb2_grpc, task_pb2

WATCHES = 2000
FOLLOWED = 200
SECONDS = 4.0


@contextlib.contextmanager
def open_streams(agent: Agent, watches: int, task_ids: list[str]) -> Iterator[None]:
    """Hold streams open from another process."""
    with subprocess.Popen(
        command("_streams", agent.address, watches, *task_ids),
        cwd=root(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline(), "the streams did not open"
        yield
        holder.kill()


def quiet_task(agent: Agent) -> str:
    """Launch a task that goes on and writes nothing, and return its id."""
    with grpc.insecure_channel(agent.address) as channel:
        stub = launcher_pb2_grpc.TaskLauncherStub(channel)
        spec = task_pb2.TaskSpec(argv=["sleep", "100000"])
        return stub.LaunchTask(pb.LaunchTaskRequest(spec=spec)).task.status.task_id


def measure(agent: Agent, what: str, watches: int, task_ids: list[str]) -> tuple[list[Figure], float]:
    """Return the figures of a caller beside so many streams, and the server's KiB for each of them."""
    alone = work("_victim", agent.address, SECONDS)
    before = memory(agent.server).resident
    with open_streams(agent, watches, task_ids):
        grown = memory(agent.server).resident - before
        beside = work("_victim", agent.address, SECONDS)
    figures = [Figure(f"{what}: {name}", "ms", [beside[name]], "no stream open", [alone[name]]) for name in alone]
    return figures, grown * 1024 / (watches + len(task_ids))


def main() -> None:
    """Measure logs, then watches, then both."""
    figures: list[Figure] = []
    each: dict[str, object] = {}
    with scratch() as directory, running_agent(directory / "state") as agent:
        followed = [quiet_task(agent)] * FOLLOWED
        kinds = {f"{FOLLOWED} logs": (0, followed), f"{WATCHES} watches": (WATCHES, []), "both": (WATCHES, followed)}
        for what, (watches, task_ids) in kinds.items():
            more, each[what] = measure(agent, what, watches, task_ids)
            figures += more
    report("streams", figures, {"KiB of the server's memory for each stream": each})


if __name__ == "__main__":
    main()
