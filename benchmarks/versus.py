"""Another version of farspawn beside this one, in turns: `python -m benchmarks.versus CHECKOUT`.

CHECKOUT is a clone of this repository at the version to compare with, in which `make setup` was run. The same client
drives both: LaunchTask for /bin/true, then Poll until its exit is known, one at a time and 16 at a time. Ratios above 1
say that this version is so many times as fast.
"""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

from benchmarks._agent import running_agent, scratch
from benchmarks._cost import Others, cpu_seconds, disk_flushes
from benchmarks._report import Figure, report
from benchmarks._worker import work

ROUNDS = 5
IN_FLIGHT = {1: 150, 16: 600}
TARGETS = {1: 1 / 0.7, 16: 1.25}


def main(checkout: Path) -> None:
    """Measure in turns."""
    rates: dict[tuple[str, int], list[float]] = {}
    parts: dict[str, list[float]] = {}
    with contextlib.ExitStack() as opened:
        directory = opened.enter_context(scratch())
        agents = {
            "this": opened.enter_context(running_agent(directory / "this")),
            "that": opened.enter_context(running_agent(directory / "that", str(checkout / ".venv/bin/python"))),
        }
        others = Others(*(pid for agent in agents.values() for pid in (agent.keeper, agent.server)))
        disturbed: list[float] = []
        for _ in range(ROUNDS):
            others.share()
            for in_flight, count in IN_FLIGHT.items():
                for name, agent in agents.items():
                    before = cpu_seconds(agent.server), cpu_seconds(agent.keeper), disk_flushes(agent.state) or 0
                    told = work("_launches", agent.address, count, in_flight)
                    after = cpu_seconds(agent.server), cpu_seconds(agent.keeper), disk_flushes(agent.state) or 0
                    rates.setdefault((name, in_flight), []).append(count / told["seconds"])
                    done = count + told["warm_up"]
                    key = f"{name}, {in_flight} in flight"
                    for what, one, other in (
                        ("us CPU server", before[0] * 1e6, after[0] * 1e6),
                        ("us CPU keeper", before[1] * 1e6, after[1] * 1e6),
                        ("flushes", before[2], after[2]),
                    ):
                        parts.setdefault(f"{key}: {what}", []).append((other - one) / done)
                    parts.setdefault(f"{key}: ms, median", []).append(told["p50_seconds"] * 1e3)
            disturbed.append(round(others.share(), 2))
    figures = [
        Figure(
            name=f"launch to exit, {in_flight} in flight",
            unit="tasks/s",
            rounds=rates["this", in_flight],
            baseline_name=str(checkout.name),
            baseline=rates["that", in_flight],
            target=target,
        )
        for in_flight, target in TARGETS.items()
    ]
    details: dict[str, object] = {"share of the machine used by others, round by round": disturbed}
    details |= {name: round(sorted(values)[len(values) // 2], 2) for name, values in parts.items()}
    report("versus", figures, details)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
