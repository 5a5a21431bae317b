"""Each question is answered once: by its shim, or by nobody after a while."""

from __future__ import annotations

import pytest

from farspawn_server.keeper import asks as module
from farspawn_server.keeper.asks import Ask, Asks
from farspawn_server.keeper.messages import Answer, InputTaken


def test_only_the_run_that_was_asked_answers_and_once() -> None:
    asks = Asks()
    number = asks.add(7, "a/1")

    assert asks.take(number, "b/1") is None
    assert asks.take(number, "a/1") == 7
    assert asks.take(number, "a/1") is None


def test_what_a_dead_shim_was_asked_is_given_up_and_nothing_else() -> None:
    asks = Asks()
    asks.add(1, "a/1")
    asks.add(2, "a/1", writes=True)
    other = asks.add(3, "b/1")

    assert [ask.in_vain() for ask in asks.give_up("a/1")] == [Answer(1), InputTaken(2, 0, closed=True)]
    assert asks.give_up("a/1") == []
    assert asks.take(other, "b/1") == 3


def test_a_question_is_overdue_once_and_a_write_never(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PATIENCE_SECONDS", 0.0)
    asks = Asks()
    asks.add(1, "a/1")
    answered = asks.add(2, "a/1")
    asks.add(3, "a/1", writes=True)
    asks.take(answered, "a/1")

    assert asks.pending() == 0.0
    assert asks.overdue() == [Ask(1, writes=False)]
    assert asks.overdue() == []
    assert asks.pending() is None
