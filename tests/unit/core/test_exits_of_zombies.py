"""How somebody else's child ended, while its parent leaves it lying."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from support.processes import PLAIN

from farspawn_core import exits, spawn


@contextmanager
def ended(*argv: str) -> Iterator[int]:
    """Give the pidfd of a process that has ended and is not reaped."""
    pid = spawn(argv, env=PLAIN)
    pidfd = os.pidfd_open(pid)
    try:
        select.select([pidfd], [], [])
        yield pidfd
    finally:
        os.close(pidfd)
        exits.reap(pid)


@pytest.mark.parametrize("code", [0, 7, 255])
def test_its_code_is_known(code: int) -> None:
    with ended("/bin/sh", "-c", f"exit {code}") as pidfd:
        how = exits.of_zombie(pidfd)

    assert how is not None
    assert (how.code, how.signal) == (code, None)


def test_its_signal_is_known() -> None:
    with ended("/bin/sh", "-c", "kill -KILL $$") as pidfd:
        how = exits.of_zombie(pidfd)

    assert how is not None
    assert (how.code, how.signal) == (None, signal.SIGKILL)


def test_of_one_that_lives_nothing_is_known() -> None:
    pid = spawn(["/bin/sleep", "60"], env=PLAIN)
    pidfd = os.pidfd_open(pid)

    assert exits.of_zombie(pidfd) is None

    signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    exits.reap(pid)
    assert exits.of_zombie(pidfd) is None  # reaped: the number may be another's by now
    os.close(pidfd)
