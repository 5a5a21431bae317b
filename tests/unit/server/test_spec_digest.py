"""The digest of a spec: the same for ever for the same spec, another for every other."""

from __future__ import annotations

import dataclasses
from datetime import timedelta

import pytest

from farspawn_server.task.spec import Lease, LeaseAction, RestartMode, RestartPolicy, Spec, StopPlan

TRUE = Spec(argv=("true",))
FULL = Spec(
    argv=("python3", "train.py", "ä"),
    env={"B": "2", "A": "1"},
    working_directory="/data",
    stop=StopPlan(linger=timedelta(0), grace=timedelta(seconds=2.5), signal=2),
    max_runtime=timedelta(hours=1),
    lease=Lease(timedelta(seconds=30), LeaseAction.KILL),
    labels={"round": "3"},
)


def test_the_digests_of_the_first_version_are_those_of_today() -> None:
    # Stored in databases and compared by clients: if this fails, every repeated launch is refused after an upgrade.
    assert TRUE.digest() == "5dc92c0de02ce7791871a8591eef46e18b9ff5eb00b0703070fc9452d41cc083"
    assert FULL.digest() == "4357a9ebba06c93579af4354d78f2d0c02be1061063f187bccad651689c494e0"


def test_a_field_at_its_default_is_left_out() -> None:
    spelled_out = Spec(
        argv=("true",), env={}, working_directory="/", stop=StopPlan(), max_runtime=None, lease=None, labels={}
    )

    assert spelled_out.digest() == TRUE.digest()


def test_the_order_of_a_mapping_does_not_matter() -> None:
    assert Spec(argv=("x",), env={"A": "1", "B": "2"}).digest() == Spec(argv=("x",), env={"B": "2", "A": "1"}).digest()


@pytest.mark.parametrize(
    "other",
    [
        {"argv": ("python3", "train.py")},
        {"argv": ("python3 train.py", "ä")},
        {"env": {"A": "1"}},
        {"env": {"A": "2", "B": "1"}},
        {"working_directory": "/"},
        {"stop": StopPlan(grace=timedelta(seconds=2.5), signal=2)},
        {"stop": StopPlan(drain=timedelta(0), grace=timedelta(seconds=2.5), signal=2)},
        {"max_runtime": None},
        {"max_runtime": timedelta(hours=1, microseconds=1)},
        {"lease": None},
        {"lease": Lease(timedelta(seconds=30))},
        {"labels": {}},
        {"restart": RestartPolicy(RestartMode.ALWAYS)},
    ],
    ids=lambda other: next(iter(other)),
)
def test_every_difference_changes_the_digest(other: dict[str, object]) -> None:
    assert dataclasses.replace(FULL, **other).digest() != FULL.digest()  # type: ignore[arg-type]


def test_two_fields_of_the_same_text_are_not_the_same() -> None:
    assert Spec(argv=("x",), env={"A": "1"}).digest() != Spec(argv=("x",), labels={"A": "1"}).digest()
