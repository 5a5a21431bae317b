"""How a process ended that is not our child: what its parent learnt, if the kernel tells, and never a guess."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest
from support.processes import PLAIN, Family, Member, python_program, state
from support.waiting import until

from farspawn_core import Exit, ExitUnknownError, ProcessAdapter, exits, spawn_process

_REAPS_WHEN_ASKED = """
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
if child():
    signal.signal(signal.SIGTERM, lambda *_: os._exit(5))
    report("child")
    stay()
report("parent")
signal.sigwait([signal.SIGUSR1])
os.wait()
stay()
"""


@pytest.fixture
def parent(family: Family) -> Iterator[ProcessAdapter]:
    """A process that reaps its child when SIGUSR1 asks it to."""
    process = spawn_process(python_program(_REAPS_WHEN_ASKED), PLAIN, descriptors=family.descriptors)
    yield process
    process.kill()


def _ended(child: Member, number: int) -> int:
    """End the child of another process by a signal, and return a pidfd of its zombie."""
    pidfd = os.pidfd_open(child.pid)
    os.kill(child.pid, number)
    until(lambda: (state(child.pid) or ("", 0))[0] == "Z")
    return pidfd


def _of_stranger(pidfd: int) -> Exit | None:
    try:
        return exits.of_stranger(pidfd)
    except ExitUnknownError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize(("number", "how"), [(signal.SIGKILL, (None, signal.SIGKILL)), (signal.SIGTERM, (5, None))])
def test_the_exit_of_anothers_child_is_known_once_it_is_reaped(
    family: Family, parent: ProcessAdapter, number: int, how: tuple[int | None, int | None]
) -> None:
    child = next(member for member in family.members(2) if member.word == "child")
    pidfd = _ended(child, number)
    try:
        before = _of_stranger(pidfd)
        parent.send_signal(signal.SIGUSR1)
        found = until(lambda: _of_stranger(pidfd))
    finally:
        os.close(pidfd)

    assert before is None
    assert found is not None
    assert (found.code, found.signal, found.usage) == (*how, None)
