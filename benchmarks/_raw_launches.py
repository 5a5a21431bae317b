"""Worker: the least that a launcher can do: make two output files, spawn /bin/true, wait; COUNT times.

The files stay, for whoever made DIRECTORY to remove: for minutes after, ext4 makes each new file look past every inode
that was deleted, and whoever is measured next would pay for it.

One thread keeps IN_FLIGHT processes alive: more threads would not help, `os.posix_spawn` holds the GIL until the exec.
HOW is "os" for `os.posix_spawn`, or "core" for what the keeper uses, `farspawn_core.spawn`.

`python -m benchmarks._raw_launches DIRECTORY COUNT IN_FLIGHT HOW`
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time

from farspawn_core import spawn

_FLAGS = os.O_CREAT | os.O_APPEND | os.O_WRONLY | os.O_CLOEXEC
_ARGV = ["/bin/true"]
_ENV = {"PATH": "/usr/bin:/bin"}


def start(directory: str, name: str, how: str) -> int:
    """Start one process with two new files for its output; return its pid."""
    files = [os.open(f"{directory}/{name}.{output}", _FLAGS, 0o600) for output in ("stdout", "stderr")]
    try:
        if how == "core":
            return spawn(_ARGV, env=_ENV, cwd="/", descriptors=(0, *files))
        moves = [(os.POSIX_SPAWN_DUP2, source, target) for target, source in enumerate(files, start=1)]
        return os.posix_spawn(_ARGV[0], _ARGV, _ENV, file_actions=moves)
    finally:
        for descriptor in files:
            os.close(descriptor)


def main(directory: str, count: int, in_flight: int, how: str) -> None:
    """Measure."""
    made = tempfile.mkdtemp(dir=directory)
    alive = 0
    began, before = time.perf_counter(), os.times()
    for number in range(count):
        if alive == in_flight:
            reap()
            alive -= 1
        start(made, str(number), how)
        alive += 1
    for _ in range(alive):
        reap()
    seconds, after = time.perf_counter() - began, os.times()
    result = {
        "seconds": seconds,
        "cpu_seconds": after.user + after.system - before.user - before.system,
        "task_cpu_seconds": after.children_user + after.children_system - before.children_user - before.children_system,
    }
    print(json.dumps(result))


def reap() -> None:
    """Wait for the end of any process."""
    _, status = os.waitpid(-1, 0)
    assert status == 0, status


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
