"""Leases that are kept alive while the caller does something else."""

from __future__ import annotations

from datetime import timedelta

import pytest
from support.agent import Agent
from support.tasks import new_id
from support.waiting import until

import farspawn
from farspawn import Cause, ClientClosedError, Lease, LeaseExpiredError, StopPlan, TaskNotFoundError, WaitTimeoutError

TTL = timedelta(seconds=1.5)
LONGER = timedelta(seconds=3)
AT_ONCE = StopPlan.at_once()


def lives_on(site: farspawn.Client, process: farspawn.Process) -> bool:
    """Whether a task outlives its lease, though the one who looks renews nothing."""
    try:
        site.process(process.task_id).wait(LONGER)
    except WaitTimeoutError:
        return True
    return False


def test_leases_are_kept_by_id_and_by_label_also_over_a_kill_of_the_server(
    own_agent: Agent, own_site: farspawn.Client
) -> None:
    labels = {"batch": new_id("batch")}
    by_id = own_site.launch(["sleep", "60"], lease=Lease(TTL), stop=AT_ONCE)

    with own_site.keep_leases([by_id.task_id]) as ids, own_site.keep_leases(labels=labels) as labelled:
        launched_later = own_site.launch(["sleep", "60"], lease=Lease(TTL), stop=AT_ONCE, labels=labels)
        own_agent.kill_server()
        assert lives_on(own_site, by_id)
        assert launched_later.poll() is None
        assert (ids.error, ids.expired, labelled.error, labelled.expired) == (None, (), None, ())

    ended = own_site.wait_all([by_id.task_id, launched_later.task_id])
    assert {status.outcome and status.outcome.cause for status in ended.values()} == {Cause.LEASE_EXPIRED}


def test_a_lease_that_was_over_before_is_told(site: farspawn.Client) -> None:
    process = site.launch(["sleep", "60"], lease=Lease(TTL), stop=AT_ONCE)
    site.process(process.task_id).wait()

    with pytest.raises(LeaseExpiredError) as expired, site.keep_leases([process.task_id]):
        pass

    assert [status.task_id for status in expired.value.statuses] == [process.task_id]


def test_a_task_that_does_not_exist_is_told_on_entering(site: farspawn.Client) -> None:
    with pytest.raises(TaskNotFoundError), site.keep_leases([new_id()]):
        pass


def test_closing_the_client_ends_the_keeping_and_is_told(own_agent: Agent, own_site: farspawn.Client) -> None:
    process = own_site.launch(["sleep", "60"], lease=Lease(timedelta(hours=1)))

    with pytest.raises(ClientClosedError), own_site.keep_leases([process.task_id]) as keeper:  # noqa: PT012  # its end raises
        own_site.close()
        until(lambda: keeper.error)

    assert len(own_agent.live_tasks()) == 1


def test_leaving_does_not_hide_an_error_of_the_block(site: farspawn.Client) -> None:
    process = site.launch(["true"], lease=Lease(TTL))

    with pytest.raises(KeyError), site.keep_leases([process.task_id]):
        raise KeyError
