"""What waits is bounded by its bytes: those of each caller, and all together."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from farspawn_server.rpc.waiting import Waiting
from farspawn_server.task.errors import LimitReachedError
from farspawn_server.task.spec import Owner

ALICE, BOB, CAROL = Owner("alice"), Owner("bob"), Owner("carol")


def test_a_caller_whose_calls_hold_all_they_may_is_refused_and_others_are_not() -> None:
    waiting = Waiting(most=1000, most_per_caller=500)
    with ExitStack() as open_calls:
        open_calls.enter_context(waiting.holding(ALICE, 500))

        with pytest.raises(LimitReachedError, match="waiting_bytes_per_caller = 500"), waiting.holding(ALICE, 1):
            pass
        open_calls.enter_context(waiting.holding(BOB, 500))
        with pytest.raises(LimitReachedError, match="waiting_bytes = 1000"), waiting.holding(CAROL, 1):
            pass


def test_a_call_that_is_over_holds_nothing() -> None:
    waiting = Waiting(most=500, most_per_caller=500)
    for _ in range(3):
        with pytest.raises(ZeroDivisionError), waiting.holding(ALICE, 500):
            raise ZeroDivisionError

    assert not waiting._held_of


def test_each_task_that_is_asked_about_counts() -> None:
    waiting = Waiting(most_per_caller=1000)

    with pytest.raises(LimitReachedError), waiting.holding(ALICE, 0, ids=10):
        pass
