"""A leader that a keeper has guessed stays a guess: in the task, in the store, and to the keepers that follow."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from support.values import EXIT_0, MOMENT, a_task

from farspawn_server.keeper.messages import Adopt, Hello, Holding
from farspawn_server.store import codec
from farspawn_server.supervisor.charge import Charge, Ground
from farspawn_server.supervisor.settle import settled
from farspawn_server.supervisor.stocktaking import take_stock
from farspawn_server.task.life import Task
from farspawn_server.task.spec import RestartMode, RestartPolicy


def guessed(**spec: Any) -> Task:
    task = a_task(**spec)
    return settled(task, Holding(task.run, 7, 99, MOMENT.wall, guessed=True), MOMENT)


def test_a_guess_is_stored_as_one() -> None:
    task = guessed()

    assert task.guessed
    assert codec.decode(codec.encode_spec(task.spec), None, codec.encode_record(task)).guessed


def test_what_was_stored_before_there_were_guesses_is_none() -> None:
    task = guessed()
    before = codec.encode_record(task).replace(',"guessed":true', "")
    assert before != codec.encode_record(task)

    assert not codec.decode(codec.encode_spec(task.spec), None, before).guessed


def test_the_next_attempt_is_no_guess() -> None:
    ended = guessed(restart=RestartPolicy(RestartMode.ALWAYS)).leader_ended(EXIT_0).exited(MOMENT, dice=0.0)

    assert not ended.next_attempt("keeper-2", "boot-1").guessed


def test_the_next_keeper_is_told_that_it_adopts_a_guess() -> None:
    adopted: list[Adopt] = []
    link = SimpleNamespace(adopt=adopted.append)
    ground = cast(Ground, SimpleNamespace(link=link, hello=Hello("keeper-2", "boot-1", 0)))
    charge = cast(Charge, SimpleNamespace(task=guessed(), resume=lambda: None))

    assert take_stock([charge], ground) == []
    assert adopted == [Adopt("uid-1/1", 7, 99, MOMENT.wall, guessed=True)]
