"""Promise 7: no fork, ever. A handler of pthread_atfork(3) counts over every path of the core, those that fail too."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from support import atfork
from support.apart import Apart
from support.processes import LIKE_TORCHRUN, LIKE_TORCHRUN_SIZE, PLAIN, Family, python_program
from support.waiting import PATIENCE

from farspawn_core import SpawnError, spawn, spawn_process


def _every_path(round_: int) -> None:
    pid = spawn(["true"], env=PLAIN, cwd="/", descriptors=())
    os.waitpid(pid, 0)
    for argv, cwd in ((["true"], "/nowhere"), (["no-such-tool"], "/"), (["true", "x" * (1 << 18)], None)):
        with suppress(SpawnError):
            spawn_process(argv, PLAIN, cwd=cwd)
    assert spawn_process(["sh", "-c", f"exit {round_ % 256}"], PLAIN).wait(PATIENCE) == round_ % 256
    if round_ % 10 == 0:  # it looks at every process of the machine, again and again
        spawn_process(["sleep", "600"], PLAIN).terminate(grace=0.1)


def _forks_over_every_path(rounds: int) -> int:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(_every_path, range(rounds)))
    with Family() as family:
        process = spawn_process(python_program(LIKE_TORCHRUN), PLAIN, descriptors=family.descriptors)
        family.members(LIKE_TORCHRUN_SIZE)
        process.kill()
    return atfork.count()


def test_no_path_of_the_core_forks(atfork_counter: atfork.AtforkCounter) -> None:
    forks = Apart(environment=atfork_counter.environment).run(_forks_over_every_path, 100)

    assert forks == 0
    assert atfork_counter.forks() == []


def _fork_once() -> list[int]:
    before = atfork.count()
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    return [before, atfork.count(), os.getpid()]


def test_the_counter_would_see_a_fork(atfork_counter: atfork.AtforkCounter) -> None:
    before, after, pid = Apart(environment=atfork_counter.environment).run(_fork_once)

    assert (before, after) == (0, 1)
    assert len(atfork_counter.forks(pid)) == 1
    assert atfork_counter.forks() == atfork_counter.forks(pid)


def test_the_counter_is_built_once(tmp_path: Path, atfork_counter: atfork.AtforkCounter) -> None:
    built = atfork_counter.library.stat().st_mtime_ns

    atfork.build(tmp_path, file=tmp_path / "other")

    assert atfork_counter.library.stat().st_mtime_ns == built
