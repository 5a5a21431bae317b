"""A task's cgroup (v2): the kernel's own list of everything it started, where this process may make one.

Nothing leaves a cgroup by double fork, setsid or a cleared environment, and `cgroup.kill` ends all of it at one stroke.
But a process has to be put in: what it started in the moment before is put in with it, as far as it is found.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

_PARENT = "farspawn"
_LINKS_OF_A_LEAF = 2
_YOUNG_SECONDS = 60


class Cgroup:
    """One group. All methods bear that it, or what was in it, is gone."""

    def __init__(self, path: Path) -> None:
        """Make the group, or take over the one that is there.

        Raises:
            OSError: it cannot be made.
        """
        path.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._procs = f"{path}/cgroup.procs"  # opened at every start and exit: no path is built then

    @property
    def path(self) -> str:
        """Its directory."""
        return str(self._path)

    def add(self, pid: int) -> None:
        """Put a process in; what it starts from now on is born there."""
        if pid <= 0:
            raise ValueError(f"pid {pid}: to the kernel that is whoever writes it, and it would move us")
        _write(self._procs, str(pid))  # it may have ended, or become somebody whom we may not move

    def limit(self, *, memory_bytes: int = 0, processes: int = 0) -> None:
        """Limit all of it together, as far as the controllers are there: see memory.max and pids.max in cgroup(7).

        Args:
            memory_bytes: 0: no limit.
            processes: threads count too; 0: no limit.
        """
        for name, value in (("memory.max", memory_bytes), ("pids.max", processes)):
            if value:
                _write(f"{self._path}/{name}", str(value))

    def pids(self) -> list[int]:
        """Return who lives in it, in groups below it too."""
        return [int(pid) for directory in self._directories() for pid in _read(f"{directory}/cgroup.procs").split()]

    def kill(self) -> None:
        """Send SIGKILL to everybody in it, and to whoever is being born."""
        with contextlib.suppress(OSError):  # Linux before 5.14 has no cgroup.kill; the tree is struck anyhow
            (self._path / "cgroup.kill").write_text("1", encoding="ascii")

    def out_of_memory(self) -> bool | None:
        """Return whether the kernel killed somebody in it for want of memory; None: it does not count that here."""
        for line in _read(f"{self._path}/memory.events").splitlines():
            name, _, count = line.partition(" ")
            if name == "oom_kill":
                return int(count) > 0
        return None

    def remove(self) -> None:
        """Remove the group, if nobody lives in it."""
        for directory in reversed(self._directories()):
            with contextlib.suppress(OSError):
                os.rmdir(directory)

    def _directories(self) -> list[str]:
        """Return this group's directory and those below it."""
        path = str(self._path)
        with contextlib.suppress(OSError):
            # Each directory below is a link to this one; mostly there is none, and reading the list is what costs.
            if os.stat(path).st_nlink > _LINKS_OF_A_LEAF:
                return [directory for directory, _, _ in os.walk(path)]
        return [path]


def make(home: Path, name: str) -> Cgroup | None:
    """Make the group of a name below `home`, or take over the one that is there; None: the kernel allows no more."""
    try:
        return Cgroup(home / name.replace("/", "."))
    except OSError:
        return None


def sweep(home: Path) -> None:
    """Remove the groups below `home` that nobody lives in: those of agents that were killed and never came back."""
    for entry in os.scandir(home):
        with contextlib.suppress(OSError):
            # A young one may be another agent's, about to be filled.
            if entry.is_dir() and time.time() - entry.stat().st_mtime > _YOUNG_SECONDS:
                os.rmdir(entry.path)


def home() -> Path | None:
    """Return the directory below which this process may make groups, None if there is none."""
    own = next((line[3:] for line in _read("/proc/self/cgroup").splitlines() if line.startswith("0::")), None)
    mount = next((fields for fields in _mounts() if fields[fields.index("-") + 1] == "cgroup2"), None)
    if own is None or mount is None:
        return None
    # Fields of proc_pid_mountinfo(5): the root of the mount within the tree of groups, and where it is mounted.
    root, point = mount[3], mount[4]
    parent = Path(point) / os.path.relpath(own, root) / _PARENT
    try:
        Cgroup(parent / "probe").remove()
    except OSError:
        return None
    for controller in ("+memory", "+pids"):  # each by itself: one that is not there would take the other with it
        _write(f"{parent}/cgroup.subtree_control", controller)
    return parent


def _mounts() -> Iterator[list[str]]:
    return (line.split(" ") for line in _read("/proc/self/mountinfo").splitlines())


def _write(path: str, text: str) -> None:
    """Write to a file that is there, if the kernel lets us."""
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(descriptor, text.encode())
        finally:
            os.close(descriptor)


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""
