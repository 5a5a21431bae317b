"""Specs that are refused: the code, the reason, and the field that is wrong."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from support import raw
from support.agent import Agent
from support.refused import Refused, refused
from support.tasks import new_id

from farspawn.v1 import launcher_pb2 as pb
from farspawn.v1 import task_pb2

MINUTE = Duration(seconds=60)
OVER_TEN_YEARS = Duration(seconds=3650 * 24 * 3600 + 1)
BAD_SPANS = {
    "negative": Duration(seconds=-1),
    "negative by nanoseconds": Duration(nanos=-1_000_000),
    "too long": OVER_TEN_YEARS,
    "beyond protobuf": Duration(seconds=2**63 - 1),
    "as negative as can be": Duration(seconds=-(2**63)),
    "of two signs": Duration(seconds=1, nanos=-1),
    "too many nanoseconds": Duration(seconds=1, nanos=1_000_000_000),
}


def launch_refused(agent: Agent, *, task_id: str = "", **fields: Any) -> Refused:
    spec = task_pb2.TaskSpec(**{"argv": ["true"], **fields})
    before = agent.stub.GetSite(pb.GetSiteRequest()).site
    told = refused(lambda: agent.stub.LaunchTask(pb.LaunchTaskRequest(task_id=task_id or new_id(), spec=spec)))
    after = agent.stub.GetSite(pb.GetSiteRequest()).site

    assert (told.code, told.reason, told.domain) == (grpc.StatusCode.INVALID_ARGUMENT, "SPEC_INVALID", "farspawn")
    assert told.retry_after is None
    assert after.revision == before.revision, "something was recorded"
    return told


@pytest.mark.parametrize(
    ("argv", "fields"),
    [
        ([], ["spec.argv"]),
        ([""], ["spec.argv"]),
        (["a\0b"], ["spec.argv[0]"]),
        (["true", "x", "a\0b"], ["spec.argv[2]"]),
        (["true", "x" * (128 * 1024)], ["spec.argv[1]"]),
        (["true", "ä" * (64 * 1024)], ["spec.argv[1]"]),
        (["true", *["x" * 100_000] * 11], ["spec.argv"]),
    ],
    ids=["none", "empty", "NUL in program", "NUL", "128 KiB", "128 KiB of UTF-8", "1.1 MB"],
)
def test_argv(agent: Agent, argv: list[str], fields: list[str]) -> None:
    assert list(launch_refused(agent, argv=argv).violations) == fields


def test_a_spec_that_was_not_given(agent: Agent) -> None:
    told = refused(lambda: agent.stub.LaunchTask(pb.LaunchTaskRequest(task_id=new_id())))

    assert (told.code, list(told.violations)) == (grpc.StatusCode.INVALID_ARGUMENT, ["spec.argv"])


NEW = b"\x9a\x3f\x03new"  # field 1011


@pytest.mark.parametrize(
    ("message", "field"),
    [
        (b"", "1011"),
        (pb.LaunchTaskRequest(spec=task_pb2.TaskSpec.FromString(NEW)).SerializeToString(), "spec.1011"),
        (
            pb.LaunchTaskRequest(
                spec=task_pb2.TaskSpec(resources=task_pb2.Resources.FromString(NEW))
            ).SerializeToString(),
            "spec.resources.1011",
        ),
        (
            pb.LaunchTaskRequest(
                spec=task_pb2.TaskSpec(lease=task_pb2.Lease(ttl=Duration.FromString(NEW)))
            ).SerializeToString(),
            "spec.lease.ttl.1011",
        ),
    ],
)
def test_a_field_of_a_later_version_is_refused_and_named(agent: Agent, message: bytes, field: str) -> None:
    asked = pb.LaunchTaskRequest(spec=task_pb2.TaskSpec(argv=["true"])).SerializeToString()
    told = refused(lambda: raw.call(agent.channel, "LaunchTask", [asked + (message or NEW)]))

    assert (told.code, told.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "SPEC_INVALID")
    assert told.violations == {field: "unknown to this version of the site: leave it out"}


def test_a_field_of_a_later_version_in_the_plan_of_a_stop_is_refused(agent: Agent) -> None:
    asked = pb.StopTaskRequest(task_id="a", plan=task_pb2.StopPlan.FromString(NEW)).SerializeToString()

    assert [*refused(lambda: raw.call(agent.channel, "StopTask", [asked])).violations] == ["plan.1011"]


@pytest.mark.parametrize(
    "task_id", [" ", "a b", "-a", ".a", "a/b", "ä", "a\0", "a\n", "../a", "x" * 129, "x" * 1_000_000]
)
def test_task_ids(agent: Agent, task_id: str) -> None:
    assert list(launch_refused(agent, task_id=task_id).violations) == ["task_id"]


@pytest.mark.parametrize("name", ["", "A=B", "=", "FARSPAWN_", "FARSPAWN_TASK_UID", "FARSPAWN_X", "A\0B"])
def test_names_in_the_environment(agent: Agent, name: str) -> None:
    assert list(launch_refused(agent, env={name: "x"}).violations) == [f"spec.env[{name!r}]"]


@pytest.mark.parametrize("value", ["a\0b", "x" * (128 * 1024)], ids=["NUL", "128 KiB"])
def test_values_in_the_environment(agent: Agent, value: str) -> None:
    assert list(launch_refused(agent, env={"A": value}).violations) == ["spec.env['A']"]


@pytest.mark.parametrize("path", ["relative", "./here", " ", "~", "/with\0nul"])
def test_working_directories(agent: Agent, path: str) -> None:
    assert list(launch_refused(agent, working_directory=path).violations) == ["spec.working_directory"]


@pytest.mark.parametrize(
    "labels",
    [{"": "x"}, {"a b": "x"}, {"ä": "x"}, {"k" * 64: "x"}, {"a=b": "x"}],
)
def test_keys_of_labels(agent: Agent, labels: dict[str, str]) -> None:
    (key,) = labels
    assert list(launch_refused(agent, labels=labels).violations) == [f"spec.labels[{key!r}]"]


@pytest.mark.parametrize("value", ["x" * 257, "a\nb", "a\0b", "\x1b[31m", "\x7f", "\x9b"])
def test_values_of_labels(agent: Agent, value: str) -> None:
    assert list(launch_refused(agent, labels={"key": value}).violations) == ["spec.labels['key']"]


def test_more_labels_than_allowed(agent: Agent) -> None:
    labels = {f"key-{number}": "x" for number in range(65)}

    assert list(launch_refused(agent, labels=labels).violations) == ["spec.labels"]


@pytest.mark.parametrize("bad", BAD_SPANS.values(), ids=BAD_SPANS)
@pytest.mark.parametrize("name", ["linger", "drain", "grace"])
def test_spans_of_the_stop_plan(agent: Agent, name: str, bad: Duration) -> None:
    plan = task_pb2.StopPlan(**{name: bad})  # type: ignore[arg-type]

    assert list(launch_refused(agent, stop=plan).violations) == [f"spec.stop.{name}"]


@pytest.mark.parametrize("bad", [*BAD_SPANS.values(), Duration()], ids=[*BAD_SPANS, "zero"])
def test_max_runtimes(agent: Agent, bad: Duration) -> None:
    assert list(launch_refused(agent, max_runtime=bad).violations) == ["spec.max_runtime"]


@pytest.mark.parametrize(
    "bad", [*BAD_SPANS.values(), Duration(), Duration(nanos=999_000_000)], ids=[*BAD_SPANS, "zero", "under a second"]
)
def test_ttls_of_leases(agent: Agent, bad: Duration) -> None:
    assert list(launch_refused(agent, lease=task_pb2.Lease(ttl=bad)).violations) == ["spec.lease.ttl"]


def test_a_lease_without_a_ttl(agent: Agent) -> None:
    assert list(launch_refused(agent, lease=task_pb2.Lease()).violations) == ["spec.lease.ttl"]


@pytest.mark.parametrize("action", [3, -1, 2**31 - 1])
def test_unknown_lease_actions(agent: Agent, action: int) -> None:
    lease = task_pb2.Lease(ttl=MINUTE, action=action)  # type: ignore[arg-type]

    assert list(launch_refused(agent, lease=lease).violations) == ["spec.lease.action"]


@pytest.mark.parametrize("number", [-1, 65, 2**31 - 1, -(2**31)])
def test_numbers_that_are_no_signal_in_the_stop_plan(agent: Agent, number: int) -> None:
    assert list(launch_refused(agent, stop=task_pb2.StopPlan(signal=number)).violations) == ["spec.stop.signal"]


def test_every_bad_field_is_named_at_once(agent: Agent) -> None:
    told = launch_refused(
        agent,
        task_id="a b",
        argv=[],
        env={"A=B": ""},
        working_directory="here",
        labels={"ä": ""},
        max_runtime=Duration(),
    )

    assert set(told.violations) == {
        "task_id",
        "spec.argv",
        "spec.env['A=B']",
        "spec.working_directory",
        "spec.labels['ä']",
        "spec.max_runtime",
    }


@pytest.mark.parametrize("letter", ["x", "ä", "火", "💥"])
def test_more_bad_fields_than_trailers_hold_are_still_refused_with_a_reason(agent: Agent, letter: str) -> None:
    env = {f"={number}{letter * 200}": "" for number in range(200)}

    # Trailers above 8 KiB are dropped at random: one success proves nothing.
    for _ in range(20):
        assert len(launch_refused(agent, env=env).violations) >= 4
