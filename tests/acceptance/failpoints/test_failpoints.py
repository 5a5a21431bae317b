"""The failpoint matrix of docs/failpoints.md: killed at any place, the agent comes back, and everything comes right.

Each cell: two tasks are there already, a scenario goes through the place, the victim is killed in it, what has no
parent to start it again is started again, interrupted calls are repeated, all gates are opened, everything ends.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pytest
from acceptance.failpoints.cell import cell
from acceptance.failpoints.scenarios import MORE, SCENARIOS, VICTIMS, Scenario, leading_through

from farspawn_core.failpoint import NAMES


def _cells(scenarios: Mapping[str, tuple[type[Scenario], ...]], *marks: pytest.MarkDecorator) -> Iterator[object]:
    for place in NAMES:
        for scenario in leading_through(place, scenarios):
            for victim in VICTIMS:
                slow = [pytest.mark.slow] if victim != "self" else []  # `make test` is for every day
                name = f"{place}-{victim}-{scenario.__name__}"
                yield pytest.param(place, victim, scenario, id=name, marks=[*marks, *slow])


@pytest.mark.parametrize(("place", "victim", "scenario"), [*_cells(SCENARIOS), *_cells(MORE, pytest.mark.slow)])
def test_a_crash_loses_nothing(place: str, victim: str, scenario: type[Scenario]) -> None:
    with cell(place, victim) as crash:
        leads = scenario()
        leads.prepare(crash)
        crash.agent.arm()
        leads.act(crash)
        crash.agent.until_struck_and_back()
        crash.check_living()

        crash.scene.open_gates()
        crash.until_ended(*(actor for name, actor in crash.actors.items() if name not in crash.deleted))

        crash.check_ended()


def test_no_place_is_left_out() -> None:
    assert all(leading_through(place, SCENARIOS) for place in NAMES)
