"""A command that the owner wrote, and what a caller can and cannot make of it."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farspawn_server.policy import LOCAL, Admission, Caller, Ceilings, Parameter, Policy, Role, Template
from farspawn_server.task.errors import PolicyDeniedError, SpecInvalidError, TemplateChangedError
from farspawn_server.task.spec import Cleanup, Owner, Permit, Readiness, Resources, Spec, StopPlan

TRAIN = Template(
    "train",
    "rev-1",
    argv=("/opt/train", "--round={round}", "{site}", "--literal={{x}}", "fixed"),
    env={"MODE": "{mode}", "FIXED": "1"},
    working_directory="/srv/fl",
    environment=("OMP_*",),
    parameters={
        "round": Parameter(integers=(1, 100)),
        "site": Parameter(pattern="[a-z-]*"),
        "mode": Parameter(choices=("fast", "exact"), default="exact"),
    },
    sha256="ab" * 32,
    stop=StopPlan(grace=timedelta(seconds=3)),
    cleanup=Cleanup(("/opt/tidy", "{site}")),
    readiness=Readiness(log_line="*ready*"),
    ceilings=Ceilings(max_runtime=timedelta(hours=1), resources=Resources(open_files=64)),
)
POLICY = Policy(Admission.TEMPLATES, templates={"train": TRAIN})


def asked(parameters: dict[str, str] | None = None, **more: object) -> Spec:
    given = {"round": "7", "site": "north"} if parameters is None else parameters
    return Spec(argv=(), template="train", parameters=given, **more)  # type: ignore[arg-type]


def permit(spec: Spec, policy: Policy = POLICY) -> Permit:
    found = policy.permit(LOCAL, spec, {})
    assert found is not None
    return found


def bad_fields(spec: Spec) -> list[str]:
    with pytest.raises(SpecInvalidError) as caught:
        POLICY.permit(LOCAL, spec, {})
    return sorted(each.field for each in caught.value.violations)


def test_a_template_is_filled_in() -> None:
    found = permit(asked())

    assert found.terms.argv == ("/opt/train", "--round=7", "north", "--literal={x}", "fixed")
    assert found.terms.env == {"MODE": "exact", "FIXED": "1"}
    assert found.terms.working_directory == "/srv/fl"
    assert found.terms.cleanup == Cleanup(("/opt/tidy", "north"))
    assert found.terms.readiness == Readiness(log_line="*ready*")
    assert found.terms.stop == StopPlan(grace=timedelta(seconds=3))
    assert found.terms.max_runtime == timedelta(hours=1)
    assert found.terms.resources.open_files == 64
    assert (found.template_revision, found.sha256) == ("rev-1", "ab" * 32)


@pytest.mark.parametrize(
    "value", ["0", "101", "7.0", "07", "+7", "", "7 ", "\N{ARABIC-INDIC DIGIT SEVEN}", "1e1", "9" * 40]
)
def test_an_integer_is_a_decimal_one_in_its_range(value: str) -> None:
    assert bad_fields(asked({"round": value, "site": "n"})) == ["spec.parameters['round']"]


@pytest.mark.parametrize("value", ["North", "a\n", "a;b", "../a", "a" * 5000, "{round}", "a\0"])
def test_a_text_matches_its_pattern_whole(value: str) -> None:
    assert bad_fields(asked({"round": "7", "site": value})) == ["spec.parameters['site']"]


@pytest.mark.parametrize("value", ["-rf", "--output=x", "-"])
def test_a_value_never_becomes_an_option(value: str) -> None:
    template = Template("t", "r", ("/bin/rm", "{value}"), parameters={"value": Parameter(pattern=".*")})

    with pytest.raises(SpecInvalidError, match="must not begin with '-'"):
        template.fill(Spec(argv=(), template="t", parameters={"value": value}))


def test_a_choice_is_one_of_them() -> None:
    assert bad_fields(asked({"round": "7", "site": "n", "mode": "slow"})) == ["spec.parameters['mode']"]
    assert permit(asked({"round": "7", "site": "n", "mode": "fast"})).terms.env["MODE"] == "fast"


def test_what_is_missing_and_what_is_unknown_is_named() -> None:
    assert bad_fields(asked({"site": "n", "extra": "1"})) == ["spec.parameters['extra']", "spec.parameters['round']"]


def test_what_is_the_templates_to_say_is_refused() -> None:
    spec = Spec(
        argv=("/bin/sh",),
        template="train",
        parameters={"round": "7", "site": "n"},
        working_directory="/tmp",
        cleanup=Cleanup(("/bin/sh",)),
        readiness=Readiness(tcp_port=1),
        open_input=True,
        env={"MODE": "x"},
    )
    policy = Policy(templates={"train": TRAIN})

    with pytest.raises(PolicyDeniedError):  # not among the names that callers may set
        policy.permit(LOCAL, spec, {})
    with pytest.raises(SpecInvalidError) as caught:
        TRAIN.fill(spec)

    assert {each.field for each in caught.value.violations} == {
        "spec.argv",
        "spec.working_directory",
        "spec.cleanup",
        "spec.readiness",
        "spec.open_input",
        "spec.env['MODE']",
    }


def test_a_caller_sets_only_the_names_that_the_template_lets_through() -> None:
    assert permit(asked(env={"OMP_X": "1"})).terms.env["OMP_X"] == "1"
    for given_env, secrets in (({"LD_PRELOAD": "x"}, {}), ({}, {"TOKEN": "x"})):
        with pytest.raises(PolicyDeniedError) as caught:
            POLICY.permit(LOCAL, asked(env=given_env), secrets)
        assert caught.value.metadata["rule"] == "templates.train.environment"


def test_a_template_that_is_not_there_is_refused() -> None:
    with pytest.raises(PolicyDeniedError) as caught:
        POLICY.permit(LOCAL, Spec(argv=(), template="../train"), {})

    assert caught.value.metadata["rule"] == "templates"


def test_a_revision_that_is_asked_for_is_the_one_that_runs() -> None:
    assert permit(asked(template_revision="rev-1")).template_revision == "rev-1"
    with pytest.raises(TemplateChangedError) as caught:
        POLICY.permit(LOCAL, asked(template_revision="rev-0"), {})
    assert caught.value.metadata == {"template": "train", "revision": "rev-1"}


def test_of_the_templates_limits_and_the_sites_ceilings_the_lower_one_holds() -> None:
    ceilings = Ceilings(max_runtime=timedelta(minutes=1), resources=Resources(open_files=128, niceness=5))

    terms = permit(asked(), Policy(templates={"train": TRAIN}, ceilings=ceilings)).terms

    assert terms.max_runtime == timedelta(minutes=1)
    assert terms.resources == Resources(open_files=64, niceness=5)


@given(st.text(max_size=30))
def test_whatever_is_given_fills_one_argument_and_no_other(value: str) -> None:
    template = Template("t", "r", ("/bin/echo", "x{value}y", "end"), parameters={"value": Parameter(pattern="(?s).*")})
    spec = Spec(argv=(), template="t", parameters={"value": value})

    if "\0" in value:
        with pytest.raises(SpecInvalidError):
            template.fill(spec)
    else:
        assert template.fill(spec).argv == ("/bin/echo", f"x{value}y", "end")


def test_a_star_of_a_template_lets_no_dangerous_name_through() -> None:
    template = Template("t", "r", ("/bin/true",), environment=("*",))
    operator = Caller(Owner("op"), Role.OPERATOR)
    policy = Policy(templates={"t": template})

    with pytest.raises(PolicyDeniedError):
        policy.permit(operator, Spec(argv=(), template="t", env={"LD_PRELOAD": "x"}), {})
    assert policy.permit(operator, Spec(argv=(), template="t", env={"RANK": "1"}), {})


def test_a_secret_does_not_replace_what_the_template_fixes() -> None:
    template = Template("t", "r", ("/bin/true",), env={"JOB_MODE": "safe"}, environment=("JOB_*",))
    policy = Policy(templates={"t": template})

    with pytest.raises(SpecInvalidError) as caught:
        policy.permit(LOCAL, Spec(argv=(), template="t"), {"JOB_MODE": "evil"})

    assert [each.field for each in caught.value.violations] == ["secrets['JOB_MODE']"]


def test_only_an_integer_may_be_negative_at_the_beginning_of_an_argument() -> None:
    template = Template("t", "r", ("/bin/kill", "{x}"), parameters={"x": Parameter(pattern=".*")})

    with pytest.raises(SpecInvalidError, match="must not begin with '-'"):
        template.fill(Spec(argv=(), template="t", parameters={"x": "-1"}))
