"""Run every benchmark, one after the other, and print one table of all ratios: what `make bench` does.

Each is a process of its own, `python -m benchmarks.NAME`, prints its figures and writes results/NAME.json.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

BENCHMARKS = ("launch", "poll", "memory", "recovery", "attacks", "streams", "output", "logs")

_HERE = Path(__file__).parent


def run(name: str) -> bool:
    """Run a benchmark; return whether it came to its end."""
    return subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], cwd=_HERE.parent, check=False).returncode == 0


def summarise(name: str) -> None:
    """Print the figures of a benchmark, a line each."""
    result = json.loads((_HERE / "results" / f"{name}.json").read_text(encoding="utf-8"))
    for each in result["figures"]:
        target = each["target"]
        verdict = "" if target is None else f"≥ {target:g} {'reached' if each['ratio'] >= target else 'MISSED'}"
        print(
            f"{each['name']:34} {each['median']:9.4g} {each['unit']:8} {each['baseline_median']:9.4g} "
            f"{each['ratio']:6.2f}  {each['baseline_name']:30} {verdict}".rstrip()
        )


def main() -> int:
    """Run and summarise; fail if a benchmark broke, not if a figure is poor."""
    came_through = {name: run(name) for name in BENCHMARKS}
    print(f"\n{'what':34} {'ours':>9} {'unit':8} {'baseline':>9} {'ratio':>6}  baseline is")
    for name, well in came_through.items():
        if well:
            summarise(name)
        else:
            print(f"{name}: broke, see above")
    return 0 if all(came_through.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
