"""Who is forgotten to make room, and how long it is known that they were."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

from support.values import in_state

from farspawn_server.store import Forgotten
from farspawn_server.supervisor.graveyard import KEPT_NS, Graveyard
from farspawn_server.supervisor.registry import Registry
from farspawn_server.task.outcome import State
from farspawn_server.task.spec import Owner, TaskId

ALICE, BOB = Owner("alice"), Owner("bob")


def registry(*tasks: tuple[Owner, State, int]) -> Registry:
    """One that holds such tasks; the number is that of the bytes of each."""
    made = Registry()
    for number, (owner, state, size) in enumerate(tasks):
        task = replace(in_state(state, f"uid-{number:02}", argv=("true", "x" * size)), owner=owner, revision=1)
        made.add(cast("Any", SimpleNamespace(task=task)))
    return made


def forgotten(found: Registry, count: int, weight: int = 0) -> list[str]:
    return [each.task.uid for each in found.to_forget(count, weight)]


def test_an_owner_who_has_most_loses_the_oldest() -> None:
    many = registry((ALICE, State.EXITED, 0), *[(BOB, State.EXITED, 0)] * 4)

    assert forgotten(many, 2) == ["uid-01", "uid-02"]


def test_of_two_who_have_as_many_both_lose() -> None:
    many = registry(*[(ALICE, State.EXITED, 0)] * 2, *[(BOB, State.EXITED, 0)] * 2)

    assert sorted(forgotten(many, 2)) == ["uid-00", "uid-02"]


def test_an_owner_whose_specs_are_small_loses_nothing_to_one_whose_are_large() -> None:
    many = registry(*[(ALICE, State.EXITED, 10)] * 5, *[(BOB, State.EXITED, 100_000)] * 3)

    assert forgotten(many, 0, weight=150_000) == ["uid-05", "uid-06"]


def test_what_lives_is_not_forgotten() -> None:
    assert forgotten(registry((BOB, State.RUNNING, 100_000), (ALICE, State.EXITED, 0)), 5, weight=1) == ["uid-01"]


def test_a_name_is_remembered_for_its_time() -> None:
    graveyard = Graveyard()
    graveyard.load([Forgotten(ALICE, TaskId("a"), 1)])

    assert graveyard.has(ALICE, TaskId("a"), KEPT_NS)
    assert not graveyard.has(ALICE, TaskId("a"), KEPT_NS + 1)
    assert not graveyard.has(BOB, TaskId("a"), 2)
    assert graveyard.add(Forgotten(ALICE, TaskId("b"), KEPT_NS + 1)) == ["a"]


def test_of_one_owner_only_so_many_names_are_remembered_whatever_others_do() -> None:
    graveyard = Graveyard(most_per_owner=2)

    assert [graveyard.add(Forgotten(owner, TaskId(name), 1)) for owner, name in ((BOB, "a"), (ALICE, "a"))] == [[], []]
    assert [graveyard.add(Forgotten(BOB, TaskId(name), 1)) for name in "bcd"] == [[], ["a"], ["b"]]
    assert graveyard.has(ALICE, TaskId("a"), 2)


def test_a_name_that_is_removed_may_be_used_again() -> None:
    graveyard = Graveyard()
    graveyard.add(Forgotten(BOB, TaskId("a"), 1))
    graveyard.remove(BOB, TaskId("a"))

    assert not graveyard.has(BOB, TaskId("a"), 2)
