"""Poll: how many tasks are, as soon as one of them changes."""

from __future__ import annotations

import contextlib
import itertools
import time

import grpc
from support.agent import Agent, until_ended
from support.refused import refused
from support.tasks import launch, new_id, shell, span, status_of, stop
from support.waiting import PATIENCE, until

from farspawn.v1 import launcher_pb2 as pb
from farspawn.v1 import task_pb2
from farspawn.v1.launcher_pb2_grpc import TaskLauncherStub


def test_one_poll_tells_of_many_tasks_in_the_order_of_their_revisions(agent: Agent) -> None:
    ids = [launch(agent.stub, ["sleep", "60"]).status.task_id for _ in range(5)]

    reply = agent.stub.Poll(pb.PollRequest(task_ids=reversed(ids)))

    revisions = [status.revision for status in reply.statuses]
    assert {status.task_id for status in reply.statuses} == set(ids)
    assert revisions == sorted(revisions)
    assert reply.revision >= revisions[-1]


def test_an_id_asked_for_twice_is_told_once(agent: Agent) -> None:
    task_id = launch(agent.stub, ["sleep", "60"]).status.task_id

    assert len(agent.stub.Poll(pb.PollRequest(task_ids=[task_id, task_id])).statuses) == 1


def test_unknown_ids_are_listed_beside_the_known(agent: Agent) -> None:
    task_id = launch(agent.stub, ["sleep", "60"]).status.task_id

    reply = agent.stub.Poll(pb.PollRequest(task_ids=["nobody", task_id, "x\0y"]))

    assert list(reply.unknown_task_ids) == ["nobody", "x\0y"]
    assert [status.task_id for status in reply.statuses] == [task_id]


def test_a_long_poll_of_unknown_ids_only_is_answered_at_once(agent: Agent) -> None:
    reply = agent.stub.Poll(pb.PollRequest(task_ids=["nobody"], wait=span(300), since_revision=1), timeout=PATIENCE)

    assert list(reply.unknown_task_ids) == ["nobody"]


def test_only_what_changed_since_the_revision_is_told(agent: Agent) -> None:
    old = launch(agent.stub, ["sleep", "60"]).status.task_id
    revision = agent.stub.Poll(pb.PollRequest(task_ids=[old])).revision
    new = launch(agent.stub, ["sleep", "60"]).status.task_id

    reply = agent.stub.Poll(pb.PollRequest(task_ids=[old, new], since_revision=revision))

    assert [status.task_id for status in reply.statuses] == [new]


def test_a_long_poll_wakes_when_a_task_changes(agent: Agent) -> None:
    ids = [launch(agent.stub, ["sleep", "60"]).status.task_id for _ in range(3)]
    revision = agent.stub.Poll(pb.PollRequest(task_ids=ids)).revision
    waiting = agent.stub.Poll.future(pb.PollRequest(task_ids=ids, wait=span(300), since_revision=revision))

    stop(agent.stub, ids[1])

    assert {status.task_id for status in waiting.result(timeout=PATIENCE).statuses} == {ids[1]}


def test_a_long_poll_is_answered_empty_when_its_wait_is_over(agent: Agent) -> None:
    status = launch(agent.stub, ["sleep", "60"]).status
    before = time.monotonic()

    reply = agent.stub.Poll(
        pb.PollRequest(task_ids=[status.task_id], wait=span(0.3), since_revision=status.revision), timeout=30
    )

    assert time.monotonic() - before >= 0.3
    assert list(reply.statuses) == []
    assert reply.revision >= status.revision


def test_a_long_poll_does_not_wake_for_the_tasks_of_others(agent: Agent) -> None:
    task = launch(agent.stub, ["sleep", "60"]).status
    request = pb.PollRequest(task_ids=[task.task_id], wait=span(1), since_revision=task.revision)
    waiting = agent.stub.Poll.future(request)

    until_ended(agent.stub, launch(agent.stub, ["true"]).status.task_id)

    assert list(waiting.result().statuses) == []


def test_a_long_poll_tells_of_a_task_that_is_deleted_meanwhile(agent: Agent) -> None:
    ended = launch(agent.stub, ["true"]).status.task_id
    running = launch(agent.stub, ["sleep", "60"]).status.task_id
    until_ended(agent.stub, ended)
    revision = agent.stub.Poll(pb.PollRequest(task_ids=[ended, running])).revision
    request = pb.PollRequest(task_ids=[ended, running], wait=span(300), since_revision=revision)
    waiting = agent.stub.Poll.future(request)
    polling = agent.stub.Poll(pb.PollRequest(task_ids=[running]))  # the server has heard the one before
    assert polling.statuses

    agent.stub.DeleteTask(pb.DeleteTaskRequest(task_id=ended))

    assert list(waiting.result(timeout=PATIENCE).unknown_task_ids) == [ended]


def test_a_poll_without_ids_is_refused(agent: Agent) -> None:
    told = refused(lambda: agent.stub.Poll(pb.PollRequest()))

    assert (told.code, told.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "SPEC_INVALID")
    assert list(told.violations) == ["task_ids"]


def test_a_poll_of_more_ids_than_the_site_allows_is_refused(agent: Agent) -> None:
    limit = agent.stub.GetSite(pb.GetSiteRequest()).site.limits.max_poll_tasks

    told = refused(lambda: agent.stub.Poll(pb.PollRequest(task_ids=["x"] * (limit + 1))))

    assert (told.code, list(told.violations)) == (grpc.StatusCode.INVALID_ARGUMENT, ["task_ids"])


def test_five_hundred_long_polls_delay_nobody(agent: Agent) -> None:
    status = launch(agent.stub, ["sleep", "60"]).status
    request = pb.PollRequest(task_ids=[status.task_id], wait=span(300), since_revision=status.revision)
    with contextlib.ExitStack() as stack:
        own = [("grpc.use_local_subchannel_pool", 1)]  # a connection each: one carries a hundred calls
        channels = [stack.enter_context(grpc.insecure_channel(agent.address, options=own)) for _ in range(5)]
        waiting = [TaskLauncherStub(channel).Poll.future(request) for channel in channels for _ in range(100)]

        ended = until_ended(agent.stub, launch(agent.stub, shell("exit 3")).status.task_id, timeout=PATIENCE)
        stop(agent.stub, status.task_id)

        assert ended.outcome.exit_code == 3
        assert all(call.result(timeout=PATIENCE).statuses for call in waiting)


def test_a_round_is_followed_to_its_end_by_one_poll_after_the_other(agent: Agent) -> None:
    codes = {launch(agent.stub, shell(f"exit {code}"), task_id=new_id()).status.task_id: code for code in range(10)}
    seen: dict[str, int] = {}
    revision = 0

    def all_ended() -> bool:
        nonlocal revision
        reply = agent.stub.Poll(pb.PollRequest(task_ids=codes, wait=span(5), since_revision=revision))
        revision = reply.revision
        seen.update(
            {each.task_id: each.outcome.exit_code for each in reply.statuses if each.outcome.HasField("exit_code")}
        )
        return len(seen) == len(codes)

    until(all_ended)

    assert seen == codes
    assert status_of(agent.stub, next(iter(codes))).state == task_pb2.TASK_STATE_EXITED


def test_an_answer_above_two_mebibytes_is_cut_and_the_rest_comes_with_the_next(own_agent: Agent) -> None:
    # Of each the answer holds the path that could not be executed: some 4 KiB.
    ids = {launch(own_agent.stub, [f"/{'x' * 4000}/{number}"]).status.task_id for number in range(700)}
    told: list[list[str]] = []
    revision = 0
    while sum(map(len, told)) < len(ids):
        reply = own_agent.stub.Poll(pb.PollRequest(task_ids=ids, since_revision=revision), timeout=PATIENCE)
        assert 0 < reply.ByteSize() < (2 << 20) + 8192
        assert reply.revision >= reply.statuses[-1].revision
        revision = reply.revision
        told.append([status.task_id for status in reply.statuses])

    assert len(told) == 2
    assert sorted(itertools.chain(*told)) == sorted(ids)
