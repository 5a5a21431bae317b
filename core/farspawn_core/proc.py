"""What /proc says of processes, and signals that cannot hit a stranger.

A pid is a name on loan. `Process` is a pid together with its start time, and `send` compares both while it holds a
pidfd, so a signal goes to that process or to nobody. Everything read here is true for the moment it was read.
"""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass

_READ_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class Process:
    """One process at one moment. `start_time` is in clock ticks since boot, see proc_pid_stat(5)."""

    pid: int
    parent: int
    group: int
    session: int
    start_time: int
    state: str
    threads: int
    name: str

    @property
    def key(self) -> tuple[int, int]:
        """What tells it from every other process of this boot: pid and start time."""
        return self.pid, self.start_time

    @property
    def alive(self) -> bool:
        """False for a zombie, unless only its first thread has ended and others go on."""
        return self.state not in "ZX" or self.threads > 1


def boot_id() -> str:
    """Return the kernel's id of this boot: pids and start times mean something only together with it."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()


def read(pid: int) -> Process | None:
    """Return the process that has this pid now, or None; None also where we may not look (hidepid in proc(5))."""
    try:
        line = _contents(f"/proc/{pid}/stat")
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None
    # The name is the program's to choose: it may hold spaces and parentheses. The last ")" ends it.
    opening, closing = line.index(b"("), line.rindex(b")")
    name = line[opening + 1 : closing].decode(errors="replace")
    fields = line[closing + 2 :].split()
    return Process(
        pid=pid,
        state=fields[0].decode(),
        parent=int(fields[1]),
        group=int(fields[2]),
        session=int(fields[3]),
        threads=int(fields[17]),
        start_time=int(fields[19]),
        name=name,
    )


def exists(pid: int) -> bool:
    """Return whether any process has this pid now, also one that /proc hides from us; a zombie has."""
    if pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # it is somebody else's
    return True


def _contents(path: str) -> bytes:
    """Return what is in a file of /proc: at half the cost of `open`, and each start and exit reads five."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        contents = part = os.read(descriptor, _READ_BYTES)
        while part:
            part = os.read(descriptor, _READ_BYTES)
            contents += part
        return contents
    finally:
        os.close(descriptor)


def everything() -> Iterator[int]:
    """Yield the pid of every process that this one can see."""
    for entry in os.listdir("/proc"):
        if entry.isdecimal():
            yield int(entry)


def children_of_thread(pid: int, thread: int) -> list[int]:
    """Return the children that one thread of a process started, zombies included.

    Orphans taken over by a subreaper belong to its first thread. Empty if the thread is gone. The list is exact for
    children that stay; while some end, others may be missing (proc_pid_children(5)): read again until nothing is new.
    """
    try:
        return [int(child) for child in _contents(f"/proc/{pid}/task/{thread}/children").split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def children(pid: int) -> list[int]:
    """Return the children of all threads of a process, zombies included; empty if it is gone."""
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except (FileNotFoundError, ProcessLookupError):
        return []
    return [child for thread in threads for child in children_of_thread(pid, int(thread))]


def environment_value(pid: int, name: str) -> str | None:
    """Return a variable of the environment that a process was executed with, or None.

    None also when we may not look, when the process is gone or a zombie, and when it overwrote that memory.
    """
    try:
        variables = _contents(f"/proc/{pid}/environ")
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None
    prefix = os.fsencode(f"{name}=")
    for variable in variables.split(b"\0"):
        if variable.startswith(prefix):
            return os.fsdecode(variable.removeprefix(prefix))
    return None


def open_pidfd(pid: int) -> int | None:
    """Return a descriptor of the process that has this pid now, for the caller to close; None if there is none."""
    try:
        return os.pidfd_open(pid)
    except OSError as error:
        # A number that is only a thread's, or a session's whose leader was reaped: EINVAL before Linux 6.15.
        if error.errno in (errno.ESRCH, errno.EINVAL, errno.ENOENT):
            return None
        raise


def send(process: Process, number: int) -> bool:
    """Signal exactly this process; return False if it is gone.

    Raises:
        PermissionError: it runs as somebody whom we may not signal.
    """
    descriptor = open_pidfd(process.pid)
    if descriptor is None:
        return False
    try:
        # Only while the pidfd is held can the pid not change hands between the look and the signal.
        now = read(process.pid)
        if now is None or now.key != process.key:
            return False
        signal.pidfd_send_signal(descriptor, number)
    except ProcessLookupError:
        return False
    finally:
        os.close(descriptor)
    return True
