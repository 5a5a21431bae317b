"""What a process, a disk and the machine have cost so far, as the kernel counts it."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Memory:
    """MiB: `resident` counts pages shared with others in full, `proportional` in shares (smaps_rollup)."""

    resident: float
    proportional: float


def cpu_seconds(pid: int) -> float:
    """Return the CPU time of all threads of a process, in steps of a clock tick (mostly 10 ms)."""
    return _ticks(pid, 11) / _TICKS


def reaped_cpu_seconds(pid: int) -> float:
    """Return the CPU time of all children that a process has reaped."""
    return _ticks(pid, 13) / _TICKS


class Others:
    """How much of the machine others than us had while we measured: the more, the less a figure means."""

    def __init__(self, *ours: int) -> None:
        """`ours` are the pids of the processes that are measured, besides this one and its children."""
        self._ours = ours
        self._before = self._now()

    def share(self) -> float:
        """Return their share of all cores, 0 to 1, since the last call."""
        before, self._before = self._before, self._now()
        passed, busy, ours = (after - earlier for after, earlier in zip(self._before, before, strict=True))
        return max(0.0, (busy - ours) / passed / (os.cpu_count() or 1))

    def _now(self) -> tuple[float, float, float]:
        """Return the clock, the CPU time of everybody, and that of ours, all in seconds."""
        # The last of these is what the host of a virtual machine has given to others (proc_stat(5), steal).
        user, nice, system, _, _, *interrupts = map(int, Path("/proc/stat").read_text(encoding="ascii").split()[1:9])
        us = os.times()
        ours = sum(cpu_seconds(pid) + reaped_cpu_seconds(pid) for pid in self._ours)
        busy = (user + nice + system + sum(interrupts)) / _TICKS
        return time.monotonic(), busy, ours + us.user + us.system + us.children_user + us.children_system


def memory(pid: int) -> Memory:
    """Return how much memory a process holds."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()[1:]
    kib = {name: int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in lines)}
    return Memory(kib["Rss"] / 1024, kib["Pss"] / 1024)


def disk_flushes(path: Path) -> int | None:
    """Return how often the disk under a path was told to make all durable, by anybody; None: it has no disk."""
    device = path.stat().st_dev
    number = [str(os.major(device)), str(os.minor(device))]
    for line in Path("/proc/diskstats").read_text(encoding="ascii").splitlines():
        fields = line.split()
        # Field 16 after the name counts flush requests, since Linux 5.5 (Documentation/admin-guide/iostats.rst).
        if fields[:2] == number and len(fields) > 18:
            return int(fields[18])
    return None


def filesystem(path: Path) -> str:
    """Return the type of the file system that holds a path, for instance ext4."""
    device = path.stat().st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines():
        mount, _, rest = line.partition(" - ")
        if mount.split()[2] == number:
            return rest.split()[0]
    return "unknown"


def _ticks(pid: int, first: int) -> int:
    """Return the sum of two neighbouring fields of proc_pid_stat(5), counted from 0 behind the name."""
    fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b") ")[2].split()
    return int(fields[first]) + int(fields[first + 1])
