"""Callers who misuse calls: nobody else notices, and the server does not grow."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from support.agent import Agent
from support.bystander import Bystander, bystander, resident_mib
from support.http2 import Http2, framed, gzipped
from support.tasks import launch, output, shell
from support.waiting import until

from farspawn.v1 import launcher_pb2 as pb

MOST_STREAMS = 100
INVALID_ARGUMENT, RESOURCE_EXHAUSTED, UNAVAILABLE = 3, 8, 14
REFUSED_STREAM = 7
ONE_MESSAGE = ["LaunchTask", "StopTask", "Poll", "WatchTasks", "ListTasks", "ReadLogs", "SignalTask", "DeleteTask"]
ONE_MESSAGE += ["WriteInput", "GetSite", "/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch"]
WATCH = framed(pb.WatchTasksRequest(since_revision=0))


@pytest.fixture
def other(own_agent: Agent) -> Iterator[Bystander]:
    with bystander(own_agent) as somebody:
        yield somebody


def peak_mib(pid: int) -> float:
    """Return how much memory a process has had at its worst moment."""
    words = Path(f"/proc/{pid}/status").read_text(encoding="ascii").split()
    return int(words[words.index("VmHWM:") + 1]) / 1024


def test_rapid_resets_cost_others_nothing(own_agent: Agent, other: Bystander) -> None:
    before = resident_mib(own_agent.server_pid)
    with Http2(own_agent.address) as attacker:
        for _ in range(300):
            for _ in range(100):
                attacker.reset(attacker.call("GetSite", half_close=False))
            attacker.send()
        other.served()

    assert resident_mib(own_agent.server_pid) < before + 64


def test_of_thousands_of_streams_on_one_connection_a_hundred_are_served(own_agent: Agent, other: Bystander) -> None:
    before = resident_mib(own_agent.server_pid)
    with Http2(own_agent.address) as attacker:
        for _ in range(30):
            for _ in range(100):
                attacker.call("WatchTasks", WATCH)
            attacker.send()
        attacker.until(lambda: len(attacker.resets) + len(attacker.received) >= 3000)
        other.served()

        assert attacker.most_streams == MOST_STREAMS
        assert len(attacker.received) == MOST_STREAMS
        assert set(attacker.resets.values()) == {REFUSED_STREAM}
        assert resident_mib(own_agent.server_pid) < before + 64


def test_thousands_of_calls_at_the_same_moment_are_all_answered(own_agent: Agent, other: Bystander) -> None:
    with ExitStack() as stack:
        crowd = [stack.enter_context(Http2(own_agent.address)) for _ in range(30)]
        for each in crowd:
            for _ in range(MOST_STREAMS):
                each.call("GetSite", framed(pb.GetSiteRequest()))
        for each in crowd:
            each.send()
        other.served()
        for each in crowd:
            each.until_answered(MOST_STREAMS)

            assert set(each.statuses.values()) == {0}


def test_a_call_without_a_message_is_refused_at_once(own_agent: Agent, other: Bystander) -> None:
    with Http2(own_agent.address) as attacker:
        # More than there is room for: each must make room for the next.
        streams = [attacker.call(method) for method in ONE_MESSAGE for _ in range(8)]
        attacker.send()
        attacker.until_answered(len(streams))
        other.served()

        assert set(attacker.statuses.values()) == {INVALID_ARGUMENT}


@pytest.mark.slow
@pytest.mark.parametrize("begun", [b"", framed(pb.GetSiteRequest())[:3], b"\0\0\x0f\0\0part"])
def test_a_call_that_never_sends_its_message_holds_no_place_for_ever(
    own_agent: Agent, other: Bystander, begun: bytes
) -> None:
    with Http2(own_agent.address) as attacker:
        for index in range(MOST_STREAMS):
            attacker.call(ONE_MESSAGE[index % len(ONE_MESSAGE)], begun, half_close=False)
        attacker.send()
        attacker.until_answered(MOST_STREAMS)
        late = attacker.call("GetSite", framed(pb.GetSiteRequest()))
        attacker.send()
        attacker.until(lambda: late in attacker.statuses)
        other.served()

        assert attacker.statuses.pop(late) == 0
        assert set(attacker.statuses.values()) == {INVALID_ARGUMENT}


def test_a_message_too_large_is_refused_before_it_has_come(own_agent: Agent, other: Bystander) -> None:
    with Http2(own_agent.address) as attacker:
        stream = attacker.call("LaunchTask", b"\0" + (17 << 20).to_bytes(4), half_close=False)
        attacker.send()
        attacker.until(lambda: stream in attacker.statuses)
        other.served()

        assert attacker.statuses[stream] == RESOURCE_EXHAUSTED


def test_a_message_that_inflates_to_a_thousand_times_its_size_is_refused_and_takes_no_room(
    own_agent: Agent, other: Bystander
) -> None:
    bomb = gzipped(pb.LaunchTaskRequest(task_id="x" * (60 << 20)))
    assert len(bomb) < 1 << 16
    before = peak_mib(own_agent.server_pid)
    with Http2(own_agent.address) as attacker:
        fair = attacker.call("GetSite", gzipped(pb.GetSiteRequest()), encoding="gzip")
        attacker.send()
        attacker.until_answered(1)
        stream = attacker.call("LaunchTask", bomb, encoding="gzip")
        attacker.send()
        attacker.until_answered(2)
        other.served()

        assert attacker.statuses == {fair: 0, stream: RESOURCE_EXHAUSTED}
        assert peak_mib(own_agent.server_pid) < before + 64


@pytest.mark.slow
def test_slow_readers_of_logs_are_dropped_and_cost_little(own_agent: Agent, other: Bystander) -> None:
    task_id = launch(own_agent.stub, shell("head -c 20000000 /dev/zero")).status.task_id
    read = framed(pb.ReadLogsRequest(task_id=task_id, follow=True))
    before = resident_mib(own_agent.server_pid)
    with ExitStack() as stack:
        # These let nothing come on their streams, those do not even read what comes on their connection.
        closed = [stack.enter_context(Http2(own_agent.address, window=0)) for _ in range(2)]
        deaf = [stack.enter_context(Http2(own_agent.address)) for _ in range(2)]
        for attacker in closed + deaf:
            for _ in range(MOST_STREAMS // 2):
                attacker.call("ReadLogs", read)
            attacker.send()
        # All that let nothing come, and some of the deaf: of others not even the headers went out.
        until(lambda: own_agent.log.count("reader too slow") > MOST_STREAMS, 60, every=0.2)
        other.served()
        grown = resident_mib(own_agent.server_pid) - before

        assert len(output(own_agent.stub, task_id)) == 20_000_000
        assert grown < 100
        for attacker in closed:
            for stream in range(1, MOST_STREAMS, 2):
                attacker.take(stream, 1 << 20)
            attacker.send()
            attacker.until_answered(MOST_STREAMS // 2)
            assert set(attacker.statuses.values()) == {UNAVAILABLE}


@pytest.mark.slow
def test_slow_readers_of_watches_are_dropped_and_cost_little(own_agent: Agent, other: Bystander) -> None:
    before = resident_mib(own_agent.server_pid)
    with Http2(own_agent.address, window=0) as attacker:
        methods = (("WatchTasks", WATCH), ("/grpc.health.v1.Health/Watch", b"\0" * 5))
        streams = [attacker.call(*method) for method in methods for _ in range(MOST_STREAMS // 2)]
        attacker.send()
        until(lambda: own_agent.log.count("reader too slow") >= MOST_STREAMS, 60, every=0.2)
        other.served()
        for stream in streams:
            attacker.take(stream, 1 << 20)
        attacker.send()
        attacker.until_answered(MOST_STREAMS)

        assert set(attacker.statuses.values()) == {UNAVAILABLE}
        assert resident_mib(own_agent.server_pid) < before + 64


def test_a_watcher_of_health_that_does_not_read_does_not_hold_up_others_or_the_shutdown(own_agent: Agent) -> None:
    with Http2(own_agent.address, window=0) as deaf, Http2(own_agent.address) as other:
        for connection in (deaf, other):
            connection.call("/grpc.health.v1.Health/Watch", b"\0" * 5)
            connection.send()

        other.until(lambda: other.received)
        assert own_agent.stop() == 0
