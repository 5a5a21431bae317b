"""LaunchTask and Poll of an honest caller while another one attacks, against the same caller left alone just before.

Attacker and victim are processes of their own, on connections of their own, over a Unix socket. A ratio says how many
times longer the victim waits, and less is better; on two cores an attacker that is only busy, and does no harm to the
server, takes half of the machine. The details give the growth of the server's memory.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator

import grpc
from benchmarks._agent import Agent, running_agent, scratch
from benchmarks._cost import memory
from benchmarks._report import Figure, report
from benchmarks._worker import command, root, work

from farspawn.v1 import launcher_pb2 as pb
from farspawn.v1 import launcher_pb2_grpc, task_pb2

ATTACKS = (
    "rapid_reset",
    "thousands_of_streams",
    "empty_calls",
    "withheld_messages",
    "oversized_messages",
    "silent_connections",
    "idle_connections",
    "too_many_connections",
    "pings",
    "large_metadata",
    "endless_headers",
    "slow_readers",
    "slow_watchers",
)
SECONDS = 2.0


@contextlib.contextmanager
def attacked(agent: Agent, attack: str, *more: str) -> Iterator[None]:
    """Attack an agent from another process."""
    with subprocess.Popen(
        command("_attack", agent.address, attack, *more),
        cwd=root(),
        env={**os.environ, "PYTHONPATH": f"{root() / 'tests'}:{os.environ.get('PYTHONPATH', '')}"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as attacker:
        assert attacker.stdout is not None
        assert attacker.stdout.readline(), f"{attack} did not begin"
        try:
            yield
            assert attacker.poll() is None, f"{attack} broke off"
        finally:
            attacker.kill()


def measure(agent: Agent, attack: str, *more: str) -> tuple[list[Figure], float]:
    """Return the victim's figures and by how many MiB the server grew."""
    alone = work("_victim", agent.address, SECONDS)
    before = memory(agent.server).resident
    with attacked(agent, attack, *more):
        under_attack = work("_victim", agent.address, SECONDS)
        grown = memory(agent.server).resident - before
    figures = [Figure(f"{attack}: {name}", "ms", [under_attack[name]], "left alone", [alone[name]]) for name in alone]
    return figures, grown


def chatty_task(agent: Agent) -> str:
    """Launch a task that has written a lot, and return its id."""
    with grpc.insecure_channel(agent.address) as channel:
        stub = launcher_pb2_grpc.TaskLauncherStub(channel)
        spec = task_pb2.TaskSpec(argv=["head", "-c", "20000000", "/dev/zero"])
        return stub.LaunchTask(pb.LaunchTaskRequest(spec=spec)).task.status.task_id


def main() -> None:
    """Measure each attack."""
    figures: list[Figure] = []
    grown: dict[str, object] = {}
    with scratch() as directory, running_agent(directory / "state") as agent:
        task_id = chatty_task(agent)
        for attack in ATTACKS:
            more, grown[attack] = measure(agent, attack, *([task_id] if attack == "slow_readers" else []))
            figures += more
    report("attacks", figures, {"MiB by which the server grew": grown})


if __name__ == "__main__":
    main()
