"""What the keeper is told to start, of what the site's owner imposes."""

from __future__ import annotations

import os
import pwd
from dataclasses import replace

import pytest
from support.values import a_task

from farspawn_server.keeper.messages import Confinement, User
from farspawn_server.supervisor.orders import order
from farspawn_server.task.spec import Permit, Resources

OTHER = next(each for each in pwd.getpwall() if each.pw_uid)


def imposed(**permit: str | int) -> Confinement:
    task = a_task(resources=Resources(processes=7, memory_bytes=1 << 20))
    return order(replace(task, permit=Permit(task.spec, **permit))).confinement  # type: ignore[arg-type]  # tests know


def test_limits_and_oom_score_go_to_the_keeper() -> None:
    found = imposed(oom_score_adj=321)

    assert (found.processes, found.memory_bytes, found.oom_score_adj) == (7, 1 << 20, 321)


def test_where_nothing_is_imposed_tasks_still_go_before_the_agent() -> None:
    assert order(a_task()).confinement == Confinement(oom_score_adj=500)


def test_a_user_is_looked_up_for_the_keeper() -> None:
    groups = os.getgrouplist(OTHER.pw_name, OTHER.pw_gid)

    assert imposed(user=OTHER.pw_name).user == User(OTHER.pw_name, OTHER.pw_uid, OTHER.pw_gid, groups)


@pytest.mark.parametrize("name", ["no-such-user", "removed-since"])
def test_a_user_who_is_gone_is_one_that_nobody_can_become(name: str) -> None:
    found = imposed(user=name).user

    assert found is not None
    assert found.uid == 2**32 - 1
    assert not found.groups
