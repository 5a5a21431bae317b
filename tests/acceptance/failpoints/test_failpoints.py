"""The failpoint matrix: at every place the agent is killed, and everything must come right. docs/failpoints.md lists it.

Each cell: two tasks are there already, a scenario goes through the place, the victim is killed in it, what has no
parent to start it again is started again, interrupted calls are repeated, all gates are opened, everything ends.
"""

from __future__ import annotations

import pytest
from acceptance.failpoints.cell import cell
from acceptance.failpoints.scenarios import VICTIMS, Scenario, scenarios_for

from farspawn_core.failpoint import NAMES

CELLS = [
    pytest.param(place, victim, scenario, id=f"{place}-{victim}-{scenario.__name__}")
    for place in NAMES
    for victim in VICTIMS
    for scenario in scenarios_for(place)
]


@pytest.mark.parametrize(("place", "victim", "scenario"), CELLS)
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
