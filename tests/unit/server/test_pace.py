"""A bucket of tokens for each."""

from __future__ import annotations

import pytest

from farspawn_server import pace
from farspawn_server.pace import Pace


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def taken(bucket: Pace, who: str, asked: int, *how: float) -> int:
    return sum(bucket.takes(who, *how) for _ in range(asked))


def test_each_takes_what_is_in_its_bucket_and_then_what_flows_in() -> None:
    clock = Clock()
    bucket = Pace(clock)

    assert taken(bucket, "a", 100, 4) == 4
    clock.now += 0.5
    assert taken(bucket, "a", 100, 4) == 2
    assert taken(bucket, "b", 100, 4) == 4
    clock.now += 1000
    assert taken(bucket, "a", 100, 4) == 4


@pytest.mark.parametrize(("per_second", "size", "at_once"), [(0.1, 1, 1), (0.1, 7, 7), (9, 2, 9)])
def test_a_bucket_holds_what_it_is_made_for_but_at_least_those_of_a_second(
    per_second: float, size: float, at_once: int
) -> None:
    assert taken(Pace(Clock()), "a", 100, per_second, size) == at_once


def test_only_full_buckets_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "_MANY", 10)
    clock = Clock()
    bucket = Pace(clock)
    for number in range(100):
        clock.now += 0.5
        bucket.takes(str(number), 1)

    assert len(bucket._buckets) <= 10
    assert not bucket.takes("99", 1)
