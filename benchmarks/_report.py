"""A figure beside its baseline, as a ratio: printed for people, written as JSON for machines.

Ours and the baseline are measured in turns. The ratio is the median of the ratios of the rounds: what disturbs the
machine for longer than a round disturbs both sides of it.
"""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True, slots=True)
class Figure:
    """One thing, measured in rounds.

    Attributes:
        name: what was measured.
        unit: of the rounds and of the baseline.
        rounds: ours, one number a round.
        baseline_name: what it is compared with.
        baseline: the same number of rounds of that.
        target: what the ratio is to reach; None: nothing was promised.
    """

    name: str
    unit: str
    rounds: Sequence[float]
    baseline_name: str
    baseline: Sequence[float]
    target: float | None = None

    @property
    def median(self) -> float:
        """Ours."""
        return statistics.median(self.rounds)

    @property
    def baseline_median(self) -> float:
        """The baseline's."""
        return statistics.median(self.baseline)

    @property
    def ratios(self) -> list[float]:
        """Ours to the baseline, round by round."""
        return [ours / theirs for ours, theirs in zip(self.rounds, self.baseline, strict=True)]

    @property
    def ratio(self) -> float:
        """The median of the ratios."""
        return statistics.median(self.ratios)

    @property
    def verdict(self) -> str:
        """How the ratio compares with its target."""
        if self.target is None:
            return ""
        return f"target {self.target:g}: {'reached' if self.ratio >= self.target else 'MISSED'}"


def report(name: str, figures: Sequence[Figure], details: Mapping[str, object]) -> None:
    """Print the figures and write them to results/NAME.json.

    Args:
        name: of the benchmark.
        figures: what was measured.
        details: what explains the figures; a value may be anything that JSON can hold.
    """
    machine = _machine()
    print(f"\n{name}: " + ", ".join(f"{key} {value}" for key, value in machine.items()))
    for figure in figures:
        print(f"  {figure.name}")
        print(f"    {figure.median:10.4g} {figure.unit:8} {_spread(figure.rounds)}")
        print(f"    {figure.baseline_median:10.4g} {figure.unit:8} {_spread(figure.baseline)}  {figure.baseline_name}")
        print(f"    {figure.ratio:10.2f} {'ratio':8} {_spread(figure.ratios)}  {figure.verdict}")
    for key, value in details.items():
        _print_detail(key, value)
    RESULTS.mkdir(exist_ok=True)
    result = {"name": name, "machine": machine, "figures": [_whole(each) for each in figures], "details": details}
    (RESULTS / f"{name}.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def _print_detail(key: str, value: object) -> None:
    if isinstance(value, Mapping):
        print(f"  {key}")
        for each, part in value.items():
            print(f"    {part:10.4g} {each}" if isinstance(part, float) else f"    {part!s:>10} {each}")
    else:
        print(f"  {key}: {value}")


def _machine() -> dict[str, object]:
    return {
        "cores": len(os.sched_getaffinity(0)),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "grpcio": version("grpcio"),
    }


def _whole(figure: Figure) -> dict[str, object]:
    medians = {"median": figure.median, "baseline_median": figure.baseline_median}
    return {**dataclasses.asdict(figure), **medians, "ratio": figure.ratio, "ratios": figure.ratios}


def _spread(rounds: Sequence[float]) -> str:
    return f"[{min(rounds):.4g} .. {max(rounds):.4g}]"
