"""A program whose execution hangs, as on a dead network mount, delays its own start and nothing else."""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from support.apart import Apart
from support.hanging import hung_program
from support.processes import PLAIN, exit_code_of
from support.waiting import PATIENCE

from farspawn_core import spawn, spawn_process

_BEATS = 1_000


def test_a_hung_program_delays_no_other_start_and_starts_when_it_can(tmp_path: Path) -> None:
    with hung_program(tmp_path / "hung") as hung, ThreadPoolExecutor(1) as pool:
        starting = pool.submit(spawn_process, [hung.path], PLAIN)
        hung.until_executing()

        codes = [exit_code_of(["true"]) for _ in range(20)]

        assert codes == [0] * 20
        assert not starting.done()
        hung.let_go()
        assert starting.result().wait() == 0


def _beat_while_starting(method: str, program: str, beats: int) -> int:
    """Start `program` in one thread while another writes to `beats`; return the program's exit code."""
    ended = threading.Event()

    def beat() -> None:
        while not ended.is_set():
            os.write(beats, b".")

    beating = threading.Thread(target=beat)
    beating.start()
    try:
        start: Callable[[], int] = {
            "os.posix_spawn": lambda: os.posix_spawn(program, [program], {}),
            "farspawn": lambda: spawn([program], env={}),
        }[method]
        pid = start()
    finally:
        ended.set()
        beating.join()
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _beats_while_hung(method: str, directory: Path, *, silence: float) -> int:
    """Return how many beats came while the program hung: up to _BEATS, or those before so many seconds of silence."""
    reading, writing = os.pipe()
    poller = select.poll()
    poller.register(reading, select.POLLIN)
    try:
        with hung_program(directory / "hung") as hung, ThreadPoolExecutor(1) as pool:
            child = Apart(descriptors=(writing,))
            code = pool.submit(child.run, _beat_while_starting, method, hung.path, writing)
            try:
                hung.until_executing()
                # What was written before it hung says nothing. A pipe holds 64 KiB, and whoever writes on is awaited.
                os.read(reading, 1 << 16)
                beats = 0
                while beats < _BEATS and poller.poll(silence * 1000):
                    beats += len(os.read(reading, 100))
            finally:
                hung.let_go()
                while not code.done():
                    if poller.poll(10):
                        os.read(reading, 1 << 16)
            assert code.result() == 0
            return beats
    finally:
        os.close(reading)
        os.close(writing)


def test_a_hung_program_freezes_no_thread_of_the_process_that_starts_it(tmp_path: Path) -> None:
    assert _beats_while_hung("farspawn", tmp_path, silence=PATIENCE) >= _BEATS


def test_os_posix_spawn_would_freeze_every_thread(tmp_path: Path) -> None:
    assert _beats_while_hung("os.posix_spawn", tmp_path, silence=1.0) < _BEATS
