"""What becomes of children that are launched inside a live grpc.aio server: the hazard that this project exists for.

A demonstration, not a measurement of ours against a baseline: /bin/true, which cannot fail, is launched in turn by
`subprocess.Popen(preexec_fn=os.setsid)`, which forks, by a Popen that does not, and by this core. A child that a signal
ended, or that had to be killed because it hung, never came to execute its program. gRPC has its fork handlers on, as it
has by default. Each method has a server process of its own, and a deadline.
"""

from __future__ import annotations

import json
import os
import select
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from farspawn_core import ProcessAdapter, spawn_process

LAUNCHES = 800
DEADLINE_SECONDS = 38.0  # for each of the three methods: under two minutes altogether
METHODS = ("Popen(preexec_fn=os.setsid)", "Popen(start_new_session=True)", "farspawn_core.spawn_process")

_HERE = Path(__file__).resolve().parent
_RESULT = _HERE / "results" / "fork_hazard.json"


@dataclass(frozen=True, slots=True)
class Row:
    """What became of the launches by one method.

    Attributes:
        method: as it is called in the source.
        launches: how many were asked for.
        finished: how many came to an end, good or bad, before the deadline.
        lost_by_signal: children that a signal ended before they executed the program.
        hung: children that stood still for seconds, or were never heard of again.
        p50_ms: from the launch to the exit, of the good ones.
        max_ms: the same, of all that finished.
        answered: calls that the server answered meanwhile; None: it did not come that far.
    """

    method: str
    launches: int
    finished: int
    lost_by_signal: int
    hung: int
    p50_ms: float
    max_ms: float
    answered: int | None


def _start(method: str, stdout: int, stderr: int) -> ProcessAdapter:
    # Defaults, as FLARE's processes have them.
    environment = {name: value for name, value in os.environ.items() if name != "GRPC_ENABLE_FORK_SUPPORT"}
    environment |= {"PYTHONPATH": str(_HERE.parent / "tests"), "GRPC_VERBOSITY": "NONE"}
    command = [sys.executable, str(_HERE / "_hazard_server.py"), method, str(LAUNCHES)]
    return spawn_process(command, environment, descriptors=(stderr, stdout, stderr))


def _lines(descriptor: int, deadline: float) -> Iterator[bytes]:
    """Yield lines until the end of file, or the deadline."""
    poller = select.poll()
    poller.register(descriptor, select.POLLIN)
    rest = b""
    while poller.poll(max(0.0, deadline - time.monotonic()) * 1000):
        if not (text := os.read(descriptor, 1 << 16)):
            return
        *lines, rest = (rest + text).split(b"\n")
        yield from lines


def demonstrate(method: str) -> Row:
    """Launch by one method in a server of its own, and leave nothing of it behind."""
    reading, writing = os.pipe()
    nowhere = os.open(os.devnull, os.O_RDWR)
    process = _start(method, writing, nowhere)
    os.close(writing)
    os.close(nowhere)
    try:
        told = [json.loads(line) for line in _lines(reading, time.monotonic() + DEADLINE_SECONDS)]
    finally:
        process.kill()
        os.close(reading)
    ends = [one for one in told if "ms" in one]
    good = [one["ms"] for one in ends if one["code"] == 0]
    hung = sum(one["hung"] for one in ends)
    return Row(
        method=method,
        launches=LAUNCHES,
        finished=len(ends),
        lost_by_signal=sum(one["code"] < 0 and not one["hung"] for one in ends),
        hung=hung + LAUNCHES - len(ends),
        p50_ms=statistics.median(good) if good else 0.0,
        max_ms=max((one["ms"] for one in ends), default=0.0),
        answered=next((one["answered"] for one in told if "answered" in one), None),
    )


def main() -> None:
    """Print the table and write it as JSON."""
    titles = f"{'method':32}{'launches':>9}{'lost by signal':>16}{'hung':>6}{'p50 ms':>9}{'max ms':>9}{'calls':>8}"
    print(titles, flush=True)
    rows = []
    for method in METHODS:
        row = demonstrate(method)
        rows.append(asdict(row))
        calls = "-" if row.answered is None else row.answered
        counts = f"{row.launches:9}{row.lost_by_signal:16}{row.hung:6}"
        print(f"{method:32}{counts}{row.p50_ms:9.1f}{row.max_ms:9.0f}{calls:>8}", flush=True)
    _RESULT.parent.mkdir(exist_ok=True)
    _RESULT.write_text(json.dumps({"name": "fork_hazard", "rows": rows}, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
