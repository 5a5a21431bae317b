"""Values and messages: nothing is lost, nothing is invented."""

from __future__ import annotations

from dataclasses import fields
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from farspawn import _values as values
from farspawn import _wire as wire
from farspawn import _wire_site as wire_site
from farspawn import _wire_spec as wire_spec
from farspawn.v1 import launcher_pb2, site_pb2, task_pb2

spans = st.timedeltas(min_value=timedelta(), max_value=timedelta(days=3650))
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
plans = st.builds(
    values.StopPlan,
    linger=st.none() | spans,
    drain=st.none() | spans,
    signal=st.none() | st.integers(1, 64),
    grace=st.none() | spans,
    scope=st.sampled_from(values.StopScope),
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
    restart=st.none()
    | st.builds(
        values.RestartPolicy,
        st.sampled_from(values.RestartMode),
        st.integers(0, 9),
        st.none() | spans,
        st.none() | spans,
        st.none() | spans,
    ),
    cleanup=st.none() | st.builds(values.Cleanup, st.lists(texts, max_size=3).map(tuple), st.none() | spans),
    open_input=st.booleans(),
    merge_output=st.booleans(),
    readiness=st.none()
    | st.builds(values.Readiness, log_line=texts)
    | st.builds(values.Readiness, tcp_port=st.integers(0, 65535))
    | st.builds(values.Readiness, file=texts),
    template=texts,
    parameters=st.dictionaries(texts, texts, max_size=3),
    template_revision=texts,
    resources=st.builds(
        values.Resources,
        address_space_bytes=st.integers(0, 1 << 60),
        cpu_time=st.none() | spans,
        open_files=st.integers(0, 1 << 30),
        processes=st.integers(0, 1 << 22),
        memory_bytes=st.integers(0, 1 << 60),
        niceness=st.integers(0, 19),
        log_bytes=st.integers(0, 1 << 60),
    ),
)


@given(specs)
def test_a_spec_comes_back_as_it_went(spec: values.TaskSpec) -> None:
    wired = task_pb2.TaskSpec.FromString(wire_spec.spec_to_wire(spec).SerializeToString())

    assert wire_spec.spec_from_wire(wired) == spec


def test_resources_that_say_nothing_are_not_sent() -> None:
    assert not wire_spec.spec_to_wire(values.TaskSpec()).HasField("resources")


def test_zero_is_sent_and_unset_is_not() -> None:
    plan = wire_spec.plan_to_wire(values.StopPlan(grace=timedelta()))

    assert plan is not None
    assert plan.HasField("grace")
    assert not plan.HasField("drain")


def test_killing_sets_every_span_so_that_no_default_delays_it() -> None:
    plan = wire_spec.plan_to_wire(values.StopPlan.at_once())

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

    assert (unknown.usage, unknown.launch_failure) == (None, None)
    assert unknown.oom_kill is values.OomKill.UNSPECIFIED


def test_whether_the_kernel_killed_for_want_of_memory_is_told_with_how_sure_that_is() -> None:
    told = [wire.outcome_from_wire(task_pb2.Outcome(oom_kill=each)).oom_kill for each in task_pb2.OomKill.values()]

    assert told == list(values.OomKill)


def test_a_status_without_an_outcome_has_none() -> None:
    status = wire.status_from_wire(task_pb2.TaskStatus(task_id="a"))

    assert (status.outcome, status.pid, status.times.ended) == (None, None, None)


def test_earlier_attempts_and_cleanups_are_facts_of_their_own() -> None:
    first = task_pb2.Attempt(
        number=1,
        state=task_pb2.TASK_STATE_EXITED,
        outcome=task_pb2.Outcome(exit_code=3, cleanup=task_pb2.CleanupOutcome(signal=9, timed_out=True)),
    )

    status = wire.status_from_wire(task_pb2.TaskStatus(attempt=2, ready=True, earlier_attempts=[first]))

    assert (status.attempt, status.ready) == (2, True)
    (attempt,) = status.earlier_attempts
    assert (attempt.number, attempt.state, attempt.outcome.returncode) == (1, values.TaskState.EXITED, 3)
    assert attempt.outcome.cleanup == values.CleanupOutcome(signal=9, timed_out=True)
    assert wire.outcome_from_wire(task_pb2.Outcome()).cleanup is None


def test_a_site_tells_its_templates_and_what_it_does_not_limit_is_none() -> None:
    range_of_ten = site_pb2.Template.IntegerRange(minimum=0, maximum=9)
    epochs = site_pb2.Template.Parameter(name="epochs", integers=range_of_ten, default_value="")
    kind = site_pb2.Template.Parameter(name="kind", choices=["a", "b"])
    template = site_pb2.Template(name="train", revision="ab", description="Trains.", parameters=[epochs, kind])
    limits = site_pb2.Site.Limits(
        max_launches_per_second=0.5, max_lease_ttl=Duration(seconds=9), resources=task_pb2.Resources(memory_bytes=7)
    )

    site = wire_site.site_from_wire(
        site_pb2.Site(admission=site_pb2.ADMISSION_TEMPLATES, templates=[template], limits=limits)
    )

    assert site.admission is values.Admission.TEMPLATES
    assert site.templates == (
        values.Template(
            "train",
            "ab",
            "Trains.",
            (
                values.Parameter("epochs", integers=values.IntegerRange(0, 9), default_value=""),
                values.Parameter("kind", choices=("a", "b")),
            ),
        ),
    )
    assert (site.limits.max_launches_per_second, site.limits.max_lease_ttl) == (0.5, timedelta(seconds=9))
    assert (site.limits.max_runtime, site.limits.resources.memory_bytes) == (None, 7)
    assert wire_site.site_from_wire(site_pb2.Site()).limits.resources == values.Resources()


def test_one_check_tells_whether_a_task_is_ready() -> None:
    with pytest.raises(ValueError, match="not several"):
        values.Readiness(log_line="*", file="/a")


def test_every_field_of_the_contract_has_its_value() -> None:
    pairs: list[tuple[type[Any], type[Message]]] = [
        (values.TaskSpec, task_pb2.TaskSpec),
        (values.StopPlan, task_pb2.StopPlan),
        (values.RestartPolicy, task_pb2.RestartPolicy),
        (values.Cleanup, task_pb2.Cleanup),
        (values.Readiness, task_pb2.Readiness),
        (values.Lease, task_pb2.Lease),
        (values.Resources, task_pb2.Resources),
        (values.TaskStatus, task_pb2.TaskStatus),
        (values.Attempt, task_pb2.Attempt),
        (values.TaskTimes, task_pb2.TaskTimes),
        (values.Outcome, task_pb2.Outcome),
        (values.CleanupOutcome, task_pb2.CleanupOutcome),
        (values.Task, task_pb2.Task),
        (values.Site, site_pb2.Site),
        (values.Limits, site_pb2.Site.Limits),
        (values.Load, site_pb2.Site.Load),
        (values.Template, site_pb2.Template),
        (values.Parameter, site_pb2.Template.Parameter),
        (values.IntegerRange, site_pb2.Template.IntegerRange),
    ]

    for ours, theirs in pairs:
        assert {field.name for field in fields(ours)} == {field.name for field in theirs.DESCRIPTOR.fields}, ours


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
        (values.RestartMode, task_pb2.RestartMode),
        (values.StopScope, task_pb2.StopScope),
        (values.LogStream, launcher_pb2.LogStream),
        (values.SignalScope, launcher_pb2.SignalScope),
        (values.SiteState, site_pb2.SiteState),
        (values.ContainmentTier, site_pb2.ContainmentTier),
        (values.Admission, site_pb2.Admission),
    ],
)
def test_enumerations_are_those_of_the_contract(ours: type[values.TaskState], theirs: type[task_pb2.TaskState]) -> None:
    prefix = theirs.DESCRIPTOR.values_by_number[0].name.removesuffix("UNSPECIFIED")

    assert {prefix + member.name: member.value for member in ours} == dict(theirs.items())


def test_states_end_where_the_contract_says() -> None:
    final = {state.name for state in values.TaskState if state.is_final}

    assert final == {"EXITED", "FAILED", "LOST"}
