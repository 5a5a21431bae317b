"""Start one process in a session of its own: clean signals, its working directory, no inherited descriptors.

The first process leads a new session, so its pid is also the group id and the session id. Nothing here waits for it:
whoever spawns owns the pid until they reap it.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack

from farspawn_core import _libc, executor, pinned
from farspawn_core._descriptors import lift
from farspawn_core.confinement import Confinement, check_within
from farspawn_core.errors import Phase, SpawnError
from farspawn_core.program import candidates, find_program

STANDARD_STREAMS = (0, 1, 2)


def _tell_nobody(_: int) -> None: ...


def spawn(
    argv: Sequence[str],
    *,
    env: Mapping[str, str],
    cwd: str | None = None,
    descriptors: Sequence[int] = STANDARD_STREAMS,
    confinement: Confinement | None = None,
    born: Callable[[int], None] = _tell_nobody,
) -> int:
    """Start a program and return its pid. Blocks, without the GIL, until the program is executed.

    Args:
        argv: the program and its arguments; the program is searched in env's PATH.
        env: its whole environment.
        cwd: its working directory; None: ours.
        descriptors: descriptor i of the process is descriptors[i] of ours; it inherits no other.
        confinement: what is imposed on it; None: nothing. Limits, user, niceness and cgroup cost the start of a small
            Python program before it, and until that has executed the program the pid's environment is not `env`.
        born: is told the pid as soon as there is one, which for some confinements is before the program is executed:
            the start may still fail. Must not raise.

    Raises:
        SpawnError: it was not started; errno, phase and filename say why.
        ValueError: argv is empty, or something holds a NUL character, or an env name is empty or holds "=".
    """
    arguments, environment = _encoded(argv, env)
    for descriptor in descriptors:
        _check_open(descriptor)  # before we open any: ours could take the number of one that is closed
    with ExitStack() as opened:
        directory = None if cwd is None else _open_directory(cwd, opened)
        if confinement is None:
            path = find_program(argv[0], search_path=env.get("PATH"), directory=cwd or ".")
        else:
            if directory is None:
                directory = _open_directory(".", opened)
            check_within(directory, confinement.directories, cwd or ".")
            paths = _confined_program(argv[0], env.get("PATH"), directory, confinement)
            if confinement.needs_executor:
                return executor.start(
                    paths,
                    arguments,
                    environment,
                    confinement=confinement,
                    directory=directory,
                    directory_path=cwd or ".",
                    descriptors=descriptors,
                    born=born,
                )
            (path,) = paths
        error_number, pid = _libc.posix_spawn(
            os.fsencode(path),
            arguments,
            environment,
            directory=directory,
            descriptors=lift(descriptors, opened),
        )
    if error_number:
        raise SpawnError(error_number, Phase.SPAWN, path)
    born(pid)
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


def _confined_program(name: str, search_path: str | None, directory: int, confinement: Confinement) -> list[str]:
    """Return where the program is, or may be: only who runs as its user can tell which of several paths it is."""
    if confinement.needs_executor and not confinement.sha256:
        return list(candidates(name, search_path=search_path))
    # The opened directory, which is where the program will be: its path may lead elsewhere by now.
    here = f"/proc/self/fd/{directory}"
    path = find_program(name, search_path=search_path, directory=here)
    return [pinned.resolve(os.path.join(here, path), confinement.sha256) if confinement.sha256 else path]
