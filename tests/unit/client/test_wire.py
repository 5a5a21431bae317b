"""Values and messages: nothing is lost, nothing is invented."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from farspawn import _values as values
from farspawn import _wire as wire
from farspawn.v1 import launcher_pb2, site_pb2, task_pb2

spans = st.timedeltas(min_value=timedelta(), max_value=timedelta(days=3650))
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
plans = st.builds(
    values.StopPlan,
    linger=st.none() | spans,
    drain=st.none() | spans,
    signal=st.none() | st.integers(1, 64),
    grace=st.none() | spans,
)
specs = st.builds(
    values.TaskSpec,
    argv=st.lists(texts, max_size=3).map(tuple),
    env=st.dictionaries(texts, texts, max_size=3),
    working_directory=texts,
    stop=plans,
    max_runtime=st.none() | spans,
    lease=st.none() | st.builds(values.Lease, spans, st.sampled_from(values.LeaseAction)),
    labels=st.dictionaries(texts, texts, max_size=3),
)


@given(specs)
def test_a_spec_comes_back_as_it_went(spec: values.TaskSpec) -> None:
    wired = task_pb2.TaskSpec.FromString(wire.spec_to_wire(spec).SerializeToString())

    assert wire.spec_from_wire(wired) == spec


def test_zero_is_sent_and_unset_is_not() -> None:
    plan = wire.plan_to_wire(values.StopPlan(grace=timedelta()))

    assert plan is not None
    assert plan.HasField("grace")
    assert not plan.HasField("drain")


def test_killing_sets_every_span_so_that_no_default_delays_it() -> None:
    plan = wire.plan_to_wire(values.StopPlan.at_once())

    assert plan is not None
    assert (plan.HasField("linger"), plan.HasField("drain"), plan.HasField("grace")) == (True, True, True)
    assert {plan.linger.ToTimedelta(), plan.drain.ToTimedelta(), plan.grace.ToTimedelta()} == {timedelta()}


def test_a_task_killed_by_a_signal_has_no_exit_code() -> None:
    outcome = wire.outcome_from_wire(task_pb2.Outcome(signal=9))

    assert (outcome.exit_code, outcome.signal, outcome.returncode) == (None, 9, -9)


def test_exit_code_zero_is_told_apart_from_none() -> None:
    assert wire.outcome_from_wire(task_pb2.Outcome(exit_code=0)).returncode == 0
    assert wire.outcome_from_wire(task_pb2.Outcome()).returncode is None


def test_what_the_site_cannot_know_is_none() -> None:
    unknown = wire.outcome_from_wire(task_pb2.Outcome())

    assert (unknown.oom_killed, unknown.usage, unknown.launch_failure) == (None, None, None)
    assert wire.outcome_from_wire(task_pb2.Outcome(oom_killed=False)).oom_killed is False


def test_a_status_without_an_outcome_has_none() -> None:
    status = wire.status_from_wire(task_pb2.TaskStatus(task_id="a"))

    assert (status.outcome, status.pid, status.times.ended) == (None, None, None)


def test_moments_are_aware_and_in_utc() -> None:
    created = Timestamp(seconds=1_700_000_000, nanos=500_000_000)

    times = wire.status_from_wire(task_pb2.TaskStatus(times=task_pb2.TaskTimes(created=created))).times

    assert times.created == datetime(2023, 11, 14, 22, 13, 20, 500_000, tzinfo=UTC)


def test_a_state_of_a_newer_site_is_one_of_a_living_task() -> None:
    newer = task_pb2.TaskStatus.FromString(b"\x18\x63")  # field 3, state: 99

    status = wire.status_from_wire(newer)

    assert status.state is values.TaskState.UNSPECIFIED
    assert not status.ended


def test_an_event_of_a_newer_site_is_none_of_ours() -> None:
    assert wire.event_from_wire(launcher_pb2.WatchTasksResponse()) is None


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (values.TaskState, task_pb2.TaskState),
        (values.Cause, task_pb2.Cause),
        (values.LaunchPhase, task_pb2.LaunchPhase),
        (values.LeaseAction, task_pb2.LeaseAction),
        (values.LogStream, launcher_pb2.LogStream),
        (values.SignalScope, launcher_pb2.SignalScope),
        (values.SiteState, site_pb2.SiteState),
        (values.ContainmentTier, site_pb2.ContainmentTier),
    ],
)
def test_enumerations_are_those_of_the_contract(ours: type[values.TaskState], theirs: type[task_pb2.TaskState]) -> None:
    prefix = theirs.DESCRIPTOR.values_by_number[0].name.removesuffix("UNSPECIFIED")

    assert {prefix + member.name: member.value for member in ours} == dict(theirs.items())


def test_states_end_where_the_contract_says() -> None:
    final = {state.name for state in values.TaskState if state.is_final}

    assert final == {"EXITED", "FAILED", "LOST"}
