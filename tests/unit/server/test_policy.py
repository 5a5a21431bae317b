"""What the site's owner lets run, and as what."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farspawn_server.policy import LOCAL, Admission, Caller, Ceilings, Policy, Role
from farspawn_server.policy.environment import DANGEROUS, covers, may_set
from farspawn_server.policy.templates import Template
from farspawn_server.task.errors import PolicyDeniedError
from farspawn_server.task.spec import Cleanup, Lease, Owner, Permit, Readiness, Resources, Spec, StopPlan

OPERATOR = Caller(Owner("op"), Role.OPERATOR)
ADMIN = Caller(Owner("admin"), Role.ADMIN)
TRUE = Spec(argv=("/bin/true",))


def denied(policy: Policy, spec: Spec, caller: Caller = OPERATOR, secrets: Mapping[str, str] = {}) -> str:
    """Return the rule by which it is."""
    with pytest.raises(PolicyDeniedError) as caught:
        policy.permit(caller, spec, secrets)
    return caught.value.metadata["rule"]


def permitted(policy: Policy, spec: Spec, caller: Caller = OPERATOR, secrets: Mapping[str, str] = {}) -> Permit:
    return policy.permit(caller, spec, secrets) or Permit(spec)


def test_where_anything_goes_a_spec_runs_as_it_was_asked_for() -> None:
    assert Policy().permit(LOCAL, TRUE, {}) is None


def test_templates_only_means_no_program() -> None:
    assert denied(Policy(Admission.TEMPLATES), TRUE, ADMIN) == "policy.allow"


def test_the_owner_at_the_socket_has_an_admission_apart() -> None:
    policy = Policy(Admission.TEMPLATES, owners_admission=Admission.ANY)

    assert denied(policy, TRUE, ADMIN) == "policy.allow"
    assert permitted(policy, TRUE, LOCAL) == Permit(TRUE)
    assert denied(Policy(Admission.ANY, owners_admission=Admission.TEMPLATES), TRUE, LOCAL) == "policy.allow"


@pytest.mark.parametrize("program", ["true", "/bin/../bin/true", "/bin/true/", "//bin/true", "/usr/bin/env", ""])
def test_a_program_that_is_not_on_the_list_by_its_letters_is_refused(program: str) -> None:
    policy = Policy(Admission.PROGRAMS, programs={"/bin/true": ""})

    assert denied(policy, Spec(argv=(program,))) == "policy.programs"


def test_a_program_on_the_list_is_held_to_its_digest() -> None:
    policy = Policy(Admission.PROGRAMS, programs={"/bin/true": "ab" * 32})

    assert permitted(policy, TRUE).sha256 == "ab" * 32


def test_the_program_of_a_cleanup_is_looked_at_too() -> None:
    policy = Policy(Admission.PROGRAMS, programs={"/bin/true": "", "/bin/clean": "cd" * 32})

    assert denied(policy, Spec(argv=("/bin/true",), cleanup=Cleanup(("/bin/sh",)))) == "policy.programs"
    permit = permitted(policy, Spec(argv=("/bin/true",), cleanup=Cleanup(("/bin/clean",))))
    assert permit.cleanup_sha256 == "cd" * 32


@pytest.mark.parametrize("name", ["LD_PRELOAD", "PYTHONPATH", "BASH_ENV", "PERL5LIB", "PATH", "GLIBC_TUNABLES"])
def test_names_that_change_what_programs_load_are_for_admins(name: str) -> None:
    spec = Spec(argv=("/bin/true",), env={name: "x"})

    assert denied(Policy(), spec) == "policy.environment"
    assert Policy().permit(LOCAL, spec, {}) is None


@pytest.mark.parametrize("name", ["OMP_NUM_THREADS", "BATCH", "RANK", "CUDA_VISIBLE_DEVICES", "LDX", "MY_PATH"])
def test_other_names_are_for_everybody(name: str) -> None:
    assert permitted(Policy(), Spec(argv=("/bin/true",), env={name: "x"})).terms.env == {name: "x"}


@pytest.mark.parametrize(("name", "is_listed"), [("RANK", True), ("OMP_X", True), ("OMP", False), ("HOME", False)])
def test_a_list_of_names_holds_for_admins_too(name: str, is_listed: bool) -> None:
    policy = Policy(environment=("RANK", "OMP_*"))
    spec = Spec(argv=("/bin/true",), env={name: "x"})

    for caller in (OPERATOR, LOCAL):
        if is_listed:
            assert permitted(policy, spec, caller)
        else:
            assert denied(policy, spec, caller) == "policy.environment"


def test_a_star_alone_lets_no_dangerous_name_through_but_naming_it_does() -> None:
    spec = Spec(argv=("/bin/true",), env={"LD_LIBRARY_PATH": "/opt"})

    assert denied(Policy(environment=("*",)), spec) == "policy.environment"
    assert permitted(Policy(environment=("*", "LD_LIBRARY_PATH")), spec)


def test_secrets_are_names_of_the_environment_too() -> None:
    assert denied(Policy(), TRUE, secrets={"LD_PRELOAD": "x"}) == "policy.environment"
    assert permitted(Policy(), TRUE, secrets={"TOKEN": "x"}).secrets == {"TOKEN": "x"}


@given(st.text(max_size=8))
def test_a_pattern_covers_what_begins_and_ends_as_it_does(name: str) -> None:
    assert covers(["LD_*"], "LD_" + name)
    assert covers(["NCCL_*PLUGIN"], f"NCCL_{name}PLUGIN")
    assert covers(["*"], name)
    assert covers([name.replace("*", "")], name.replace("*", ""))


def test_the_dangerous_names_are_patterns_with_at_most_one_star() -> None:
    assert all(pattern.count("*") <= 1 for pattern in DANGEROUS)


@pytest.mark.parametrize(
    "path", ["/srv", "/srv/workshop", "/srv/work/../etc", "/srv/work/..", "/etc", "//srv/work", "/srv/work/a/../../b"]
)
def test_a_directory_outside_of_the_sites_is_refused(path: str) -> None:
    policy = Policy(directories=("/srv/work",))

    assert denied(policy, Spec(argv=("/bin/true",), working_directory=path)) == "policy.directories"


@pytest.mark.parametrize("path", ["/srv/work", "/srv/work/", "/srv/work/a", "/srv/work/a/../b", "/data/x"])
def test_a_directory_within_the_sites_is_taken(path: str) -> None:
    permit = permitted(Policy(directories=("/srv/work", "/data")), Spec(argv=("/bin/true",), working_directory=path))

    assert permit.terms.working_directory == path
    assert permit.directories == ("/srv/work", "/data")


def test_a_task_that_names_no_directory_gets_the_first_of_the_sites() -> None:
    assert permitted(Policy(directories=("/srv/work", "/data")), TRUE).terms.working_directory == "/srv/work"


def test_the_root_directory_lets_everything_in() -> None:
    policy = Policy(directories=("/",))

    assert permitted(policy, Spec(argv=("/bin/true",), working_directory="/etc"))


def test_readiness_asks_for_no_file_outside_of_the_sites_directories() -> None:
    policy = Policy(directories=("/srv/work",))

    assert denied(policy, Spec(argv=("/bin/true",), readiness=Readiness(file="/etc/shadow"))) == "policy.directories"


CEILINGS = Ceilings(
    timedelta(hours=1), timedelta(minutes=5), resources=Resources(1 << 30, 60, 100, 50, 1 << 31, 5, 1 << 20)
)


def test_what_is_not_asked_for_is_at_its_ceiling() -> None:
    terms = CEILINGS.lower(TRUE)

    assert terms.max_runtime == timedelta(hours=1)
    assert terms.lease == Lease(timedelta(minutes=5))
    assert terms.resources == CEILINGS.resources


def test_a_caller_may_ask_for_less() -> None:
    less = Spec(
        argv=("/bin/true",),
        max_runtime=timedelta(minutes=1),
        lease=Lease(timedelta(seconds=30)),
        resources=Resources(1 << 20, 1, 10, 5, 1 << 21, 10, 1 << 16),
    )

    assert CEILINGS.lower(less) == less


@pytest.mark.parametrize(
    ("rule", "spec"),
    [
        ("max_runtime_seconds", Spec(argv=("/bin/true",), max_runtime=timedelta(hours=2))),
        ("lease_ttl_seconds", Spec(argv=("/bin/true",), lease=Lease(timedelta(hours=2)))),
        ("address_space_bytes", Spec(argv=("/bin/true",), resources=Resources(address_space_bytes=1 << 31))),
        ("cpu_seconds", Spec(argv=("/bin/true",), resources=Resources(cpu_seconds=61))),
        ("open_files", Spec(argv=("/bin/true",), resources=Resources(open_files=101))),
        ("processes", Spec(argv=("/bin/true",), resources=Resources(processes=51))),
        ("memory_bytes", Spec(argv=("/bin/true",), resources=Resources(memory_bytes=1 << 32))),
        ("niceness", Spec(argv=("/bin/true",), resources=Resources(niceness=4))),
        ("log_bytes", Spec(argv=("/bin/true",), resources=Resources(log_bytes=1 << 21))),
    ],
)
def test_a_caller_may_not_ask_for_more(rule: str, spec: Spec) -> None:
    assert denied(Policy(ceilings=CEILINGS), spec, LOCAL) == f"ceilings.{rule}"


def test_every_resource_has_its_ceiling() -> None:
    assert all(vars_of(CEILINGS.resources).values())


STOPS = Ceilings(max_stop=timedelta(seconds=30))


@pytest.mark.parametrize(
    "plan",
    [
        StopPlan(linger=timedelta(days=1)),
        StopPlan(drain=timedelta(seconds=31)),
        StopPlan(grace=timedelta(seconds=31)),
        StopPlan(timedelta(seconds=20), timedelta(seconds=5), 23, timedelta(seconds=6)),
    ],
)
def test_no_stop_takes_longer_than_the_site_allows(plan: StopPlan) -> None:
    assert denied(Policy(ceilings=STOPS), Spec(argv=("/bin/true",), stop=plan)) == "ceilings.max_stop_seconds"


def test_a_stop_that_is_asked_for_later_takes_no_longer_than_site_and_template_allow() -> None:
    slow = Template("slow", "1", ("/bin/true",), ceilings=Ceilings(max_stop=timedelta(minutes=1)))
    quick = Template("quick", "1", ("/bin/true",), ceilings=Ceilings(max_stop=timedelta(seconds=3)))
    policy = Policy(ceilings=STOPS, templates={"slow": slow, "quick": quick})
    lengths = {}
    for template in ("", "slow", "quick", "removed since"):
        for seconds in (3, 4, 30, 31):
            with contextlib.suppress(PolicyDeniedError):
                policy.admit_stop(template, StopPlan(grace=timedelta(seconds=seconds)))
                lengths[template] = seconds

    assert lengths == {"": 30, "slow": 30, "quick": 3, "removed since": 30}


def test_a_stop_and_a_cleanup_that_say_nothing_fit_in() -> None:
    spec = Spec(argv=("/bin/true",), stop=StopPlan(linger=timedelta(seconds=25)), cleanup=Cleanup(("/bin/true",)))

    terms = STOPS.lower(spec)

    assert terms.stop.grace == timedelta(seconds=5)
    assert terms.cleanup == Cleanup(("/bin/true",), timedelta(seconds=30))


@pytest.mark.parametrize("pattern", ["L*", "LD*", "*", "P*"])
def test_a_broad_pattern_does_not_name_what_is_dangerous(pattern: str) -> None:
    assert not may_set("LD_PRELOAD", [pattern], is_admin=False)
    assert may_set("LD_PRELOAD", ["LD_*"], is_admin=False)
    assert may_set("LD_PRELOAD", ["LD_PRELOAD"], is_admin=False)


@pytest.mark.parametrize("caller", [OPERATOR, ADMIN])
def test_for_listed_programs_no_name_is_free_until_the_owner_lists_it(caller: Caller) -> None:
    policy = Policy(Admission.PROGRAMS, programs={"/bin/true": ""})
    spec = Spec(argv=("/bin/true",), env={"RANK": "1"})

    assert denied(policy, spec, caller) == "policy.environment"
    assert denied(policy, TRUE, caller, {"RANK": "1"}) == "policy.environment"
    assert permitted(replace(policy, environment=("RANK",)), spec, caller)
    assert permitted(policy, spec, LOCAL)


def vars_of(resources: Resources) -> dict[str, int]:
    return {name: getattr(resources, name) for name in Resources.__slots__}
