"""Start a program by way of a small one that confines itself and then executes it: as systemd's executor does.

posix_spawn(3) knows no limits, niceness, user or cgroup, and no code of ours runs between a fork and an exec. So
`executor_main.py` is spawned, by an interpreter that reads no site and no user's files. Of the task's environment it is
given the cookies only, by which it is found as the task's process will be; the rest, and the command, travel through
an anonymous file. What it cannot do it tells through a pipe that is closed when the program is executed.
"""

from __future__ import annotations

import errno
import marshal
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress

from farspawn_core import _libc
from farspawn_core._descriptors import lift
from farspawn_core.confinement import Confinement
from farspawn_core.errors import Phase, SpawnError

_PROGRAM = os.path.join(os.path.dirname(os.path.abspath(__file__)), "executor_main.py")
_COOKIES = (b"FARSPAWN_TASK_UID=", b"FARSPAWN_PROCESS_UID=")
_ABOUT_TO_EXECUTE = b"\0"
_REPORT_BYTES = 1 << 16


def start(
    candidates: Sequence[str],
    arguments: list[bytes],
    environment: list[bytes],
    *,
    confinement: Confinement,
    directory: int,
    directory_path: str,
    descriptors: Sequence[int],
    born: Callable[[int], None],
) -> int:
    """Start a confined program and return its pid. Blocks, without the GIL, until the program is executed.

    Args:
        candidates: where the program is looked for, by the user that it will run as; if relative, in `directory`.
        arguments: its arguments, its name first; without NUL bytes.
        environment: NAME=value; without NUL bytes.
        confinement: what the executor is to impose: all but directories and sha256.
        directory: a descriptor of its working directory.
        directory_path: what that was opened by, for errors.
        descriptors: descriptor i of the program is descriptors[i] of ours; it inherits no other.
        born: is told the pid, before the program is executed.

    Raises:
        SpawnError: it was not executed. Nothing is left of it: this has reaped it.
    """
    plan = _plan(candidates, arguments, environment, confinement, directory_path)
    with ExitStack() as opened:
        report, reporting = os.pipe2(os.O_CLOEXEC)
        opened.callback(os.close, report)
        pid = _spawn(plan, environment, directory, descriptors, reporting)
        born(pid)
        said = b""
        while part := os.read(report, _REPORT_BYTES):
            said += part
    if said == _ABOUT_TO_EXECUTE or (not said and _was_killed(pid)):
        return pid
    with suppress(ChildProcessError):  # SIGCHLD is ignored: the kernel reaps by itself
        os.waitpid(pid, 0)
    match said.lstrip(_ABOUT_TO_EXECUTE).split(b"\0", 2):
        case [number, phase, path]:
            raise SpawnError(int(number), Phase(phase.decode()), os.fsdecode(path))
        case _:  # it came to no report: what it had to say is on its standard error
            raise SpawnError(errno.EIO, Phase.CONFINEMENT, _PROGRAM)


def _plan(
    candidates: Sequence[str],
    arguments: list[bytes],
    environment: list[bytes],
    confinement: Confinement,
    directory_path: str,
) -> bytes:
    return marshal.dumps(
        {
            "candidates": [os.fsencode(candidate) for candidate in candidates],
            "arguments": arguments,
            "environment": environment,
            "directory": os.fsencode(directory_path),
            "cgroup": os.fsencode(confinement.cgroup),
            "user": confinement.user,
            "niceness": confinement.niceness,
            "address_space_bytes": confinement.address_space_bytes,
            "cpu_seconds": confinement.cpu_seconds,
            "open_files": confinement.open_files,
            "processes": confinement.processes,
        }
    )


def _spawn(plan: bytes, environment: list[bytes], directory: int, descriptors: Sequence[int], reporting: int) -> int:
    """Start the executor; close what is only its own, so that the end of the report is seen."""
    with ExitStack() as opened:
        opened.callback(os.close, reporting)
        planned = os.memfd_create("farspawn-plan", os.MFD_CLOEXEC)  # a pipe would hold 64 KiB of it
        opened.callback(os.close, planned)
        with open(planned, "wb", closefd=False) as file:
            file.write(plan)
        os.lseek(planned, 0, os.SEEK_SET)
        error_number, pid = _libc.posix_spawn(
            os.fsencode(sys.executable),
            [os.fsencode(word) for word in (sys.executable, "-I", "-S", _PROGRAM, str(len(descriptors)))],
            _own_environment(environment),
            directory=directory,
            descriptors=lift([*descriptors, planned, reporting], opened),
        )
    if error_number:
        raise SpawnError(error_number, Phase.SPAWN, sys.executable)
    return pid


def _own_environment(environment: list[bytes]) -> list[bytes]:
    """Return the executor's environment: the task's cookies, and what this very interpreter was loaded with."""
    own = [variable for variable in environment if variable.startswith(_COOKIES)]
    if libraries := os.environ.get("LD_LIBRARY_PATH"):
        own.append(os.fsencode(f"LD_LIBRARY_PATH={libraries}"))
    return own


def _was_killed(pid: int) -> bool:
    """Wait for the end of the executor, which never came to execute; True if a signal ended it."""
    try:
        ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    except ChildProcessError:
        return False
    return ended is not None and ended.si_code in (os.CLD_KILLED, os.CLD_DUMPED)
