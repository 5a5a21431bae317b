"""Start one process in a session of its own: clean signals, its working directory, no inherited descriptors.

The first process leads a new session, so its pid is also the group id and the session id. Nothing here waits for it:
whoever spawns owns the pid until they reap it.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack

from farspawn_core import _libc
from farspawn_core._descriptors import lift
from farspawn_core.errors import Phase, SpawnError
from farspawn_core.program import find_program

STANDARD_STREAMS = (0, 1, 2)


def spawn(
    argv: Sequence[str],
    *,
    env: Mapping[str, str],
    cwd: str | None = None,
    descriptors: Sequence[int] = STANDARD_STREAMS,
) -> int:
    """Start a program and return its pid. Blocks, without the GIL, until the program is executed.

    Args:
        argv: the program and its arguments; the program is searched in env's PATH.
        env: its whole environment.
        cwd: its working directory; None: ours.
        descriptors: descriptor i of the process is descriptors[i] of ours; it inherits no other.

    Raises:
        SpawnError: it was not started; errno, phase and filename say why.
        ValueError: argv is empty, or something holds a NUL character, or an env name is empty or holds "=".
    """
    arguments, environment = _encoded(argv, env)
    for descriptor in descriptors:
        _check_open(descriptor)  # before we open any: ours could take the number of one that is closed
    with ExitStack() as opened:
        directory = None if cwd is None else _open_directory(cwd, opened)
        path = find_program(argv[0], search_path=env.get("PATH"), directory=cwd or ".")
        error_number, pid = _libc.posix_spawn(
            os.fsencode(path),
            arguments,
            environment,
            directory=directory,
            descriptors=lift(descriptors, opened),
        )
    if error_number:
        raise SpawnError(error_number, Phase.SPAWN, path)
    return pid


def _encoded(argv: Sequence[str], env: Mapping[str, str]) -> tuple[list[bytes], list[bytes]]:
    if not argv:
        raise ValueError("argv is empty: its first element names the program")
    for name in env:
        if not name or "=" in name:
            raise ValueError(f"environment name {name!r}: empty or with '='")
    arguments = [os.fsencode(argument) for argument in argv]
    environment = [os.fsencode(f"{name}={value}") for name, value in env.items()]
    # C strings end at NUL: the program would silently be given less than was asked.
    if any(b"\0" in text for text in (*arguments, *environment)):
        raise ValueError("NUL character in argv or env")
    return arguments, environment


def _check_open(descriptor: int) -> None:
    try:
        fcntl.fcntl(descriptor, fcntl.F_GETFD)
    except OSError as error:
        raise SpawnError(error.errno or 0, Phase.SPAWN, f"descriptor {descriptor}") from error


def _open_directory(path: str, opened: ExitStack) -> int:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        opened.callback(os.close, descriptor)
        # O_PATH needs no right to enter; ask now, so that the refusal has the right phase.
        os.stat(".", dir_fd=descriptor)
    except OSError as error:
        raise SpawnError(error.errno or 0, Phase.WORKING_DIRECTORY, path) from error
    return descriptor
