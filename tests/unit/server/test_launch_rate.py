"""Restarts count as launches; they wait where those are refused."""

from __future__ import annotations

import pytest

from farspawn_server.pace import Pace
from farspawn_server.supervisor.launch_rate import LaunchRate
from farspawn_server.task.spec import Owner

ALICE, BOB = Owner("alice"), Owner("bob")


def test_a_token_that_is_still_to_come_is_reserved_in_line() -> None:
    now = 0.0
    pace = Pace(lambda: now)

    assert [pace.reserve("a", 2) for _ in range(4)] == [0, 0, 0.5, 1]
    assert not pace.takes("a", 2)
    now = 10.0
    assert pace.takes("a", 2)


def test_restarts_wait_in_line_at_half_the_rate_of_launches() -> None:
    rate = LaunchRate(4)

    waits = [rate.restart_in(ALICE) for _ in range(6)]

    assert waits == pytest.approx([0, 0, 0.5, 1, 1.5, 2], abs=0.1)
    assert rate.restart_in(BOB) == 0


def test_restarts_use_up_the_rate_of_launches() -> None:
    rate = LaunchRate(2)
    for _ in range(2):
        rate.restarted(ALICE)

    assert not rate.takes(ALICE)
    assert rate.takes(BOB)


def test_without_a_limit_nothing_waits() -> None:
    rate = LaunchRate(0)
    for _ in range(100):
        rate.restarted(ALICE)

    assert rate.takes(ALICE)
    assert rate.restart_in(ALICE) == 0
