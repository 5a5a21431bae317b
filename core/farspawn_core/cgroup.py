"""A task's cgroup (v2): the kernel's own list of everything it started, and limits on all of it together.

Nothing leaves a cgroup by double fork, setsid or a cleared environment, and `cgroup.kill` ends all of it at one stroke.

Of a group that is not the root, the kernel demands that it either holds processes or hands controllers down to the
groups below ("no internal processes", cgroups(7)). So limits take a place beside our own group, not below it: under
systemd 254 and later `DelegateSubgroup=agent` starts us in UNIT/agent, and the tasks' groups go into UNIT/farspawn. We
never move ourselves: systemd could start nobody in UNIT any more while a task lives. Below our own group, and with
cgroup v1, there is nothing that limits.

A process that runs as the user who owns the group may lift its limits or leave it: what is hostile needs another user.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

_PARENT = "farspawn"
# Where DelegateSubgroup= puts us, and where systemd puts by itself what such a unit runs besides: `--check-config`.
_SUBGROUPS = ("agent", ".control")
# Programs look up there how much memory they may use, as other users too, and whatever umask we run with.
_MODE = 0o755
_LINKS_OF_A_LEAF = 2
_YOUNG_SECONDS = 60
_READ_BYTES = 1 << 16
_LIMIT_OF = {"memory": "memory.max", "pids": "pids.max"}


@dataclass(frozen=True, slots=True)
class Home:
    """Where this process may make groups.

    Attributes:
        path: the directory below which they are made.
        controllers: by what they can be limited: of "memory", "pids".
    """

    path: Path
    controllers: frozenset[str] = frozenset()


class Cgroup:
    """One group. All methods but `limit` and `descriptor` bear that it, or what was in it, is gone.

    Attributes:
        path: its directory.
    """

    def __init__(self, path: Path | str) -> None:
        """Make the group, or take over the one that is there.

        Raises:
            OSError: it cannot be made.
        """
        self.path = os.fspath(path)
        with contextlib.suppress(FileExistsError):
            os.mkdir(self.path, _MODE)
        if os.stat(f"{self.path}/.").st_mode & 0o777 != _MODE:
            os.chmod(self.path, _MODE)

    @classmethod
    def there(cls, path: str) -> Self:
        """Describe a group that is there."""
        group = cls.__new__(cls)
        group.path = path
        return group

    def descriptor(self) -> int:
        """Return an open directory for CLONE_INTO_CGROUP, see clone(2). The caller closes it.

        Raises:
            OSError: it is gone, or there are too many open files.
        """
        return os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def limit(self, *, memory_bytes: int = 0, processes: int = 0) -> None:
        """Limit all of it together.

        Args:
            memory_bytes: memory.max, and no swap besides; 0: no limit.
            processes: pids.max, which counts threads too; 0: no limit.

        Raises:
            OSError: one could not be set; `filename` is "memory.max" or "pids.max".
        """
        if memory_bytes:
            self._set("memory.max", memory_bytes)
            with contextlib.suppress(FileNotFoundError):  # a kernel that does not account swap has no limit of it
                self._set("memory.swap.max", 0)
        if processes:
            self._set("pids.max", processes)

    def pids(self) -> list[int]:
        """Return who lives in it, in groups below it too."""
        return [int(pid) for directory in self._directories() for pid in _read(f"{directory}/cgroup.procs").split()]

    def kill(self) -> None:
        """Send SIGKILL to everybody in it, and to whoever is being born."""
        with contextlib.suppress(OSError):  # Linux before 5.14 has no cgroup.kill; the tree is struck anyhow
            _write(f"{self.path}/cgroup.kill", "1")

    def out_of_memory(self) -> bool | None:
        """Return whether the kernel killed somebody in it for want of memory; None: it does not count that here."""
        kills = oom_kills(self.path)
        return None if kills is None else kills > 0

    def remove(self) -> None:
        """Remove the group, if nobody lives in it."""
        with contextlib.suppress(OSError):
            os.rmdir(self.path)  # mostly there is no other below it
            return
        for directory in reversed(self._directories()):
            with contextlib.suppress(OSError):
                os.rmdir(directory)

    def _set(self, name: str, value: int) -> None:
        try:
            _write(f"{self.path}/{name}", str(value))
        except OSError as error:
            raise OSError(error.errno, error.strerror, name) from error

    def _directories(self) -> list[str]:
        """Return this group's directory and those below it."""
        with contextlib.suppress(OSError):
            # Each directory below is a link to this one; mostly there is none, and reading the list is what costs.
            if os.stat(self.path).st_nlink > _LINKS_OF_A_LEAF:
                return [directory for directory, _, _ in os.walk(self.path)]
        return [self.path]


def make(home: Home, name: str) -> Cgroup | None:
    """Make the group of a name below `home`, or take over the one that is there; None: the kernel allows no more."""
    try:
        return Cgroup(_path(home, name))
    except OSError:
        return None


def find(home: Home, name: str) -> Cgroup | None:
    """Return the group of a name below `home`, if it is there."""
    path = _path(home, name)
    return Cgroup.there(path) if os.path.isdir(path) else None


def sweep(home: Home, keep: Callable[[str], bool]) -> None:
    """Remove the groups below `home` that nobody lives in: those of agents that were killed and never came back.

    But for those to whose name `keep` says yes: somebody has yet to read what the kernel counted there.
    """
    for entry in os.scandir(home.path):
        if keep(entry.name):
            continue
        with contextlib.suppress(OSError):
            # A young one may be another agent's, about to be filled.
            if entry.is_dir() and time.time() - entry.stat().st_mtime > _YOUNG_SECONDS:
                os.rmdir(entry.path)


def home() -> Home | None:
    """Return where this process may make groups, with controllers handed down as far as they can be; None: nowhere."""
    own = own_group()
    if own is None:
        return None
    if own.name in _SUBGROUPS and (found := _home_in(own.parent)) is not None:
        return found
    return _home_in(own)


def _path(home: Home, name: str) -> str:
    return f"{home.path}/{name.replace('/', '.')}"


def own_group() -> Path | None:
    """Return the directory of the group that this process lives in; None: no cgroup v2 is mounted here."""
    own = next((line[3:] for line in _read("/proc/self/cgroup").splitlines() if line.startswith("0::")), None)
    mount = next((fields for fields in _mounts() if fields[fields.index("-") + 1] == "cgroup2"), None)
    if own is None or mount is None:
        return None
    # Fields of proc_pid_mountinfo(5): the root of the mount within the tree of groups, and where it is mounted.
    root, point = mount[3], mount[4]
    return Path(point, os.path.relpath(own, root))


def oom_kills(group: Path | str) -> int | None:
    """Return how often the kernel killed somebody in a group, or below it, for want of memory.

    None: it does not count that there: no memory controller, no cgroup v2, or the root.
    """
    for line in _read(f"{group}/memory.events").splitlines():
        name, _, count = line.partition(" ")
        if name == "oom_kill":
            return int(count)
    return None


def _home_in(base: Path) -> Home | None:
    try:
        Cgroup(f"{base}/{_PARENT}")
        for group in (base, base / _PARENT):
            _hand_down(group)
        probe = Cgroup(f"{base}/{_PARENT}/probe.{os.getpid()}")
    except OSError:
        return None
    controllers = frozenset(name for name, limit in _LIMIT_OF.items() if (Path(probe.path) / limit).exists())
    probe.remove()
    return Home(base / _PARENT, controllers)


def _hand_down(group: Path) -> None:
    """Hand the controllers to the groups below, unless somebody lives in this one.

    Then the kernel would refuse "memory", and might take "pids": that makes it a threaded group, below which no process
    can be put into a group of its own.
    """
    if _read(f"{group}/cgroup.procs").strip():
        return
    for controller in _LIMIT_OF:  # each by itself: one that is not there would take the other with it
        with contextlib.suppress(OSError):
            _write(f"{group}/cgroup.subtree_control", f"+{controller}")


def _mounts() -> Iterator[list[str]]:
    return (line.split(" ") for line in _read("/proc/self/mountinfo").splitlines())


def _write(path: str, text: str) -> None:
    """Write to a file that is there; a group that is gone must not come back as files."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)


def _read(path: str) -> str:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)  # at half the cost of `open`: each exit reads some
    except OSError:
        return ""
    try:
        parts = iter(lambda: os.read(descriptor, _READ_BYTES), b"")
        return b"".join(parts).decode(errors="replace")
    except OSError:
        return ""
    finally:
        os.close(descriptor)
