"""What makes a request well-formed: the limits themselves are taken, the next value is refused."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farspawn_server.task import rules
from farspawn_server.task.errors import SpecInvalidError, Violation
from farspawn_server.task.spec import Lease, Spec, StopPlan


def fields(task_id: str = "a", **spec: object) -> list[str]:
    given_spec = Spec(**{"argv": ("true",), **spec})  # type: ignore[arg-type]
    return [violation.field for violation in rules.bad_launch(task_id, given_spec, {})]


@pytest.mark.parametrize("task_id", ["", "a", "0", "A.b_c:d-e", "x" * 128])
def test_ids_that_are_taken(task_id: str) -> None:
    assert fields(task_id) == []


@given(st.text(max_size=140))
def test_an_id_that_is_taken_is_safe_in_a_file_name_a_log_line_and_a_url(task_id: str) -> None:
    if task_id and fields(task_id) == []:
        assert task_id.isascii()
        assert task_id.isprintable()
        assert not set(task_id) & set("/ \\%?#&'\"")
        assert task_id not in (".", "..")


def test_the_longest_command_is_taken_and_one_byte_more_is_refused() -> None:
    longest = "x" * rules.MAX_STRING_BYTES
    room = rules.MAX_COMMAND_BYTES - len("true") - 9
    full, rest = divmod(room, len(longest) + 9)

    assert fields(argv=("true", *[longest] * full, "x" * (rest - 9))) == []
    assert fields(argv=("true", *[longest] * full, "x" * (rest - 8))) == ["spec.argv"]


def test_a_million_empty_strings_are_refused_for_their_number_alone() -> None:
    with pytest.raises(SpecInvalidError, match=r"^spec\.argv: with env 9000000 bytes"):
        rules.refuse_too_many_strings(1_000_000)


def test_the_environment_counts_too() -> None:
    env = {f"V{number:02}": "x" * 100_000 for number in range(11)}

    assert fields(env=env) == ["spec.argv"]


def test_the_kernel_takes_the_longest_string_that_we_take() -> None:
    # MAX_ARG_STRLEN is the kernel's: if this fails, the rule promises too much.
    pid = os.posix_spawn("/bin/true", ["true", "x" * rules.MAX_STRING_BYTES], {})

    assert os.waitpid(pid, 0)[1] == 0
    with pytest.raises(OSError, match="Argument list too long"):
        os.posix_spawn("/bin/true", ["true", "x" * (rules.MAX_STRING_BYTES + 1)], {})


@pytest.mark.parametrize("span", [timedelta(0), timedelta(microseconds=1), rules.MAX_SPAN])
@pytest.mark.parametrize("name", ["linger", "drain", "grace"])
def test_spans_of_a_plan_that_are_taken(name: str, span: timedelta) -> None:
    assert list(rules.bad_plan(StopPlan(**{name: span}), "plan")) == []  # type: ignore[arg-type]


@pytest.mark.parametrize("span", [timedelta(microseconds=-1), rules.MAX_SPAN + timedelta(microseconds=1)])
@pytest.mark.parametrize("name", ["linger", "drain", "grace"])
def test_spans_of_a_plan_that_are_refused(name: str, span: timedelta) -> None:
    violations = list(rules.bad_plan(StopPlan(**{name: span}), "plan"))  # type: ignore[arg-type]

    assert [violation.field for violation in violations] == [f"plan.{name}"]


@pytest.mark.parametrize(
    ("lease", "bad"),
    [(timedelta(seconds=1), []), (timedelta(milliseconds=999), ["spec.lease.ttl"]), (rules.MAX_SPAN, [])],
)
def test_a_ttl_is_at_least_a_second(lease: timedelta, bad: list[str]) -> None:
    assert fields(lease=Lease(lease)) == bad


@pytest.mark.parametrize("number", [1, 9, 15, 64])
def test_signals_that_are_taken(number: int) -> None:
    assert list(rules.bad_signal(number, "signal")) == []


@pytest.mark.parametrize("number", [-1, 0, 65])
def test_signals_that_are_refused(number: int) -> None:
    assert [violation.field for violation in rules.bad_signal(number, "signal")] == ["signal"]


def test_labels_at_their_limits_are_taken() -> None:
    labels = {f"{number:063}": "x" * 256 for number in range(64)}

    assert fields(labels=labels) == []


def test_a_refusal_looks_for_no_more_bad_fields_than_it_tells() -> None:
    env = {f"=V{number}": "" for number in range(100_000)}
    looked_at = 0

    def bad() -> Iterator[Violation]:
        nonlocal looked_at
        for violation in rules.bad_launch("a", Spec(argv=("true",), env=env), {}):
            looked_at += 1
            yield violation

    with pytest.raises(SpecInvalidError) as caught:
        rules.refuse_if_any(bad())

    assert len(caught.value.violations) == looked_at == 20


def test_a_refusal_names_every_field_in_its_text() -> None:
    with pytest.raises(SpecInvalidError, match=r"^a: too big; b: too small$"):
        rules.refuse_if_any([Violation("a", "too big"), Violation("b", "too small")])
