"""What has fallen is ended, and one that does not die keeps only those runs that may be its own."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator

import pytest
from support.processes import state
from support.waiting import until

from farspawn_server.keeper import fallen as module
from farspawn_server.keeper.fallen import Fallen
from farspawn_server.keeper.run import Run


@pytest.fixture
def lasting() -> Iterator[subprocess.Popen[bytes]]:
    """A child that cannot be got rid of, as somebody in an uninterruptible sleep: here, a zombie that nobody reaps."""
    with subprocess.Popen(["sleep", "600"]) as process:
        process.kill()
        until(lambda: (state(process.pid) or ("", 0))[0] == "Z")
        yield process


def strike(fallen: Fallen) -> list[Run]:
    """Have it do all that is due now."""
    over: list[Run] = []
    until(lambda: fallen.pending() == 0.0)
    while fallen.pending() == 0.0:
        over += fallen.go_on()
    return over


def test_one_that_does_not_die_keeps_no_run_whose_shim_dies_later(lasting: subprocess.Popen[bytes]) -> None:
    fallen = Fallen(lambda pid: pid != lasting.pid)
    earlier, later = Run("earlier/1"), Run("later/1")

    fallen.begin(earlier)
    assert strike(fallen) == []
    fallen.begin(later)

    assert strike(fallen) == [later]
    assert (earlier.falling, later.falling) == (True, False)
    lasting.wait()
    fallen.reaped(lasting.pid)
    assert strike(fallen) == [earlier]
    assert fallen.pending() is None


def test_others_have_a_turn_in_between(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_TURN_SECONDS", 0.0)
    sleeping = {process.pid: process for process in (subprocess.Popen(["sleep", "600"]) for _ in range(3))}
    fallen = Fallen(lambda pid: pid not in sleeping)
    run = Run("task/1")
    fallen.begin(run)

    turns = 0
    while fallen.pending() == 0.0:
        assert fallen.go_on() == []
        turns += 1

    assert turns > len(sleeping)
    for pid, process in sleeping.items():
        assert process.wait() == -signal.SIGKILL
        fallen.reaped(pid)
    assert strike(fallen) == [run]
