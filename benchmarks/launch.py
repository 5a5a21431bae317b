"""LaunchTask to exit, against the least that a launcher can do.

Ours: one process speaks grpc.aio to a real agent whose state is on a disk. It calls LaunchTask for /bin/true, then Poll
with `wait` until the task is final. When it hears of the exit, intent, identity and outcome were durable before.

Baselines: one process opens the same two output files in the same file system, calls `os.posix_spawn`, and waits, in a
loop; nothing is recorded. Once with one process at a time, once with 16, so that spawning and running overlap on more
than one core. And the same by `farspawn_core.spawn`, which the keeper uses. Last, the same behind gRPC, called by the
same client: a grpc.aio server that spawns and waits and does nothing else. More than that nobody can reach in Python.

The details say where the rest goes: CPU time for each task of everybody who takes part, and flushes of the disk
(counted by the kernel for the whole disk, so others' are in it).
"""

from __future__ import annotations

import contextlib
import statistics
from dataclasses import dataclass, field

from benchmarks._agent import Agent, running_agent, scratch
from benchmarks._cost import Others, cpu_seconds, disk_flushes, filesystem, reaped_cpu_seconds
from benchmarks._report import Figure, report
from benchmarks._worker import serving, work

ROUNDS = 5
IN_FLIGHT = {1: 200, 16: 800}  # and how many tasks a round has
COMPARISONS = (  # ours in flight, the baseline, how it spawns, how many at once, target
    (1, "os.posix_spawn, wait, one at a time", "os", 1, None),
    (1, "farspawn_core.spawn, wait, one at a time", "core", 1, None),
    (16, "os.posix_spawn, wait, one at a time", "os", 1, 0.5),
    (16, "os.posix_spawn, wait, 16 at once", "os", 16, None),
    (16, "farspawn_core.spawn, wait, 16 at once", "core", 16, None),
    (1, "os.posix_spawn behind a bare grpc.aio server, 1 in flight", "bare", 1, None),
    (16, "os.posix_spawn behind a bare grpc.aio server, 16 in flight", "bare", 16, None),
)


@dataclass(slots=True)
class Side:
    """One contender: tasks a second, and milliseconds (or times) a task of whatever explains them, round by round."""

    rates: list[float] = field(default_factory=list)
    parts: dict[str, list[float]] = field(default_factory=dict)

    def add(self, count: int, seconds: float, parts: dict[str, float]) -> None:
        """Note a round."""
        self.rates.append(count / seconds)
        for name, total in parts.items():
            self.parts.setdefault(name, []).append(total / count)

    def explain(self) -> dict[str, object]:
        """Return the medians."""
        return {name: statistics.median(rounds) for name, rounds in self.parts.items()}


def ours(side: Side, agent: Agent, count: int, in_flight: int) -> None:
    """Measure a round of farspawn."""
    before = _readings(agent)
    told = work("_launches", agent.address, count, in_flight)
    # The warm-up of the worker is in what the agent used, at a few per cent of the tasks; scale it out.
    used = {name: after - before[name] for name, after in _readings(agent).items()}
    parts = {
        "ms from LaunchTask to exit, median": told["p50_seconds"] * 1e3 * count,
        "ms from LaunchTask to exit, 99th percentile": told["p99_seconds"] * 1e3 * count,
        "ms wall for each task": told["seconds"] * 1e3,
        "ms CPU client": told["cpu_seconds"] * 1e3,
        **{name: total * count / (count + told["warm_up"]) for name, total in used.items()},
        "calls": told["calls"],
    }
    side.add(count, told["seconds"], parts)


def bare(side: Side, address: str, server: int, count: int, in_flight: int) -> None:
    """Measure a round of the server that only spawns."""
    before = cpu_seconds(server)
    told = work("_launches", address, count, in_flight)
    used = (cpu_seconds(server) - before) * 1e3
    parts = {
        "ms wall for each task": told["seconds"] * 1e3,
        "ms CPU client": told["cpu_seconds"] * 1e3,
        "ms CPU server": used * count / (count + told["warm_up"]),
        "calls": told["calls"],
    }
    side.add(count, told["seconds"], parts)


def raw(side: Side, directory: str, count: int, in_flight: int, how: str) -> None:
    """Measure a round of a baseline."""
    told = work("_raw_launches", directory, count, in_flight, how)
    parts = {
        "ms wall for each task": told["seconds"] * 1e3,
        "ms CPU launcher": told["cpu_seconds"] * 1e3,
        "ms CPU task": told["task_cpu_seconds"] * 1e3,
    }
    side.add(count, told["seconds"], parts)


def main() -> None:
    """Measure in turns."""
    sides = {(name, in_flight): Side() for name in ("ours", "os", "core", "bare") for in_flight in IN_FLIGHT}
    with contextlib.ExitStack() as opened:
        directory = opened.enter_context(scratch())
        agent = opened.enter_context(running_agent(directory / "state"))
        files = directory / "files"
        files.mkdir()
        address = f"unix:{directory}/bare.sock"
        server = opened.enter_context(serving("_bare_server", address, files))
        others = Others(agent.keeper, agent.server, server)
        disturbed: list[float] = []
        for _ in range(ROUNDS):
            others.share()
            for in_flight, count in IN_FLIGHT.items():
                ours(sides["ours", in_flight], agent, count, in_flight)
                for how in ("os", "core"):
                    raw(sides[how, in_flight], str(files), count, in_flight, how)
                bare(sides["bare", in_flight], address, server, count, in_flight)
            disturbed.append(round(others.share(), 2))
        details: dict[str, object] = {
            "file system of state and output": filesystem(directory),
            "share of the machine used by others, round by round": disturbed,
        }
    figures = [
        Figure(
            name=f"launch to exit, {in_flight} in flight",
            unit="tasks/s",
            rounds=sides["ours", in_flight].rates,
            baseline_name=baseline_name,
            baseline=sides[how, at_once].rates,
            target=target,
        )
        for in_flight, baseline_name, how, at_once, target in COMPARISONS
    ]
    for (name, in_flight), side in sides.items():
        details[f"each task, {name}, {in_flight} in flight"] = side.explain()
    report("launch", figures, details)


def _readings(agent: Agent) -> dict[str, float]:
    return {
        "ms CPU server": cpu_seconds(agent.server) * 1e3,
        "ms CPU keeper": cpu_seconds(agent.keeper) * 1e3,
        "ms CPU task": reaped_cpu_seconds(agent.keeper) * 1e3,
        "disk flushes": float(disk_flushes(agent.state) or 0),
    }


if __name__ == "__main__":
    main()
