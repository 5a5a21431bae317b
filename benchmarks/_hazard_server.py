"""Launch /bin/true again and again inside a live grpc.aio server, by the method that is asked for.

`_hazard_server.py METHOD COUNT`, with tests/ on the path: the live server is the one that the tests use. A line of JSON
for each launch: milliseconds to its exit, exit code or minus signal, and whether it hung and had to be killed.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress

from support import live_grpc

from farspawn_core import proc, spawn_process

PROGRAM = ["/bin/true"]
ENVIRONMENT = {"PATH": "/usr/bin:/bin"}
HUNG_AFTER_SECONDS = 3.0


def _popen_preexec() -> tuple[int, int]:
    process = subprocess.Popen(PROGRAM, env=ENVIRONMENT, preexec_fn=os.setsid)
    return process.pid, process.wait()


def _popen_new_session() -> tuple[int, int]:
    process = subprocess.Popen(PROGRAM, env=ENVIRONMENT, start_new_session=True)
    return process.pid, process.wait()


def _farspawn() -> tuple[int, int]:
    process = spawn_process(PROGRAM, ENVIRONMENT)
    return process.pid, process.wait()


METHODS: Mapping[str, Callable[[], tuple[int, int]]] = {
    "Popen(preexec_fn=os.setsid)": _popen_preexec,
    "Popen(start_new_session=True)": _popen_new_session,
    "farspawn_core.spawn_process": _farspawn,
}
"""Each starts the program, waits for its end, and returns pid and exit code or minus signal."""


class Watchdog:
    """Kills children that do not come to their end, so that whoever waits for them goes on."""

    def __init__(self) -> None:
        """Take the children that are there already for somebody else's."""
        self.killed: set[int] = set()
        self._others = set(proc.children(os.getpid()))
        self._first_seen: dict[int, float] = {}
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Watchdog:  # noqa: PYI034
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(0.5):
            now = time.monotonic()
            there = set(proc.children(os.getpid())) - self._others
            self._first_seen = {pid: self._first_seen.get(pid, now) for pid in there}
            for pid, since in self._first_seen.items():
                if now - since > HUNG_AFTER_SECONDS:
                    self.killed.add(pid)
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)


def launch_all(method: str, count: int, output: int) -> None:
    """Launch so often, one after the other, and tell of each."""
    launch = METHODS[method]
    with Watchdog() as watchdog:
        for _ in range(count):
            begun = time.perf_counter()
            pid, code = launch()
            milliseconds = (time.perf_counter() - begun) * 1e3
            told = {"ms": milliseconds, "code": code, "hung": pid in watchdog.killed}
            os.write(output, json.dumps(told).encode() + b"\n")


def main() -> None:
    """Launch beside a live server, and tell last how many calls it answered meanwhile."""
    method, count = sys.argv[1], int(sys.argv[2])
    served = live_grpc.serve_while(lambda: launch_all(method, count, 1))
    os.write(1, json.dumps({"answered": served.meanwhile}).encode() + b"\n")


if __name__ == "__main__":
    main()
