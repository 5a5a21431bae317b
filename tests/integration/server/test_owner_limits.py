"""The limits of one owner are that owner's alone: who has come to them takes nothing from anybody else."""

from __future__ import annotations

import os
import signal

import pytest
from support.refused import refused
from support.tasks import launch
from support.tls import TlsSite
from support.waiting import until

from farspawn.v1 import launcher_pb2 as pb


def limit(site: TlsSite, name: str, value: float) -> None:
    """Have the site take a limit, and wait until it says so."""
    site.configure(policy=f'[policy]\nallow = "any"\n[limits]\n{name} = {value}\n')
    os.kill(site.keeper_pid, signal.SIGHUP)
    until(lambda: getattr(site.stub.GetSite(pb.GetSiteRequest()).site.limits, name) == value)


@pytest.mark.parametrize(
    ("name", "value"), [("max_live_tasks_per_owner", 1), ("max_launches_per_second", 0.001)], ids=["full", "paced"]
)
def test_an_owner_who_has_reached_a_limit_takes_nothing_from_another(site: TlsSite, name: str, value: float) -> None:
    limit(site, name, value)
    with site.caller("alice") as alice, site.caller("bob") as bob:
        launch(alice, ["sleep", "600"])
        refusals = [refused(lambda: launch(alice, ["sleep", "600"]))]
        launch(bob, ["sleep", "600"])
        refusals.append(refused(lambda: launch(bob, ["sleep", "600"])))

    assert [(each.reason, each.metadata["limit"]) for each in refusals] == [("LIMIT_REACHED", name)] * 2
