"""Roles, grants and denials: who may do what."""

from __future__ import annotations

import pytest

from farspawn.v1 import launcher_pb2
from farspawn_server.policy import NEEDS, Caller, Grant, Role, Roster, authorise
from farspawn_server.rpc.gate import identity
from farspawn_server.task.errors import PolicyDeniedError, UnauthenticatedError
from farspawn_server.task.spec import Owner

METHODS = [method.name for method in launcher_pb2.DESCRIPTOR.services_by_name["TaskLauncher"].methods]


def test_every_method_of_the_contract_needs_a_role_and_nothing_else_does() -> None:
    assert set(NEEDS) == set(METHODS)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("role", Role)
def test_a_role_may_do_what_it_and_those_before_it_may(method: str, role: Role) -> None:
    caller = Caller(Owner("anybody"), role)

    if role >= NEEDS[method]:
        authorise(caller, method)
    else:
        with pytest.raises(PolicyDeniedError, match=NEEDS[method].name.lower()):
            authorise(caller, method)


def test_a_method_that_is_not_in_the_table_is_denied_to_everybody() -> None:
    with pytest.raises(PolicyDeniedError):
        authorise(Caller(Owner("root"), Role.ADMIN), "FormatDisk")


def test_an_exact_grant_goes_before_a_prefix_and_a_longer_prefix_before_a_shorter() -> None:
    roster = Roster(
        [
            Grant("spiffe://a/*", Role.VIEWER),
            Grant("spiffe://a/b/*", Role.OPERATOR),
            Grant("spiffe://a/b/c", Role.ADMIN),
        ]
    )

    assert roster.admit("spiffe://a/x", "").role is Role.VIEWER
    assert roster.admit("spiffe://a/b/x", "").role is Role.OPERATOR
    assert roster.admit("spiffe://a/b/c", "").role is Role.ADMIN


def test_a_grant_without_a_star_is_for_one_identity_only() -> None:
    roster = Roster([Grant("spiffe://a/b", Role.VIEWER)])

    with pytest.raises(PolicyDeniedError):
        roster.admit("spiffe://a/bc", "")


@pytest.mark.parametrize("denied", ["spiffe://a/b", "0f" * 32])
def test_a_denial_goes_before_every_grant(denied: str) -> None:
    roster = Roster([Grant("*", Role.ADMIN)], frozenset({denied}))

    with pytest.raises(PolicyDeniedError) as refusal:
        roster.admit("spiffe://a/b", "0f" * 32)

    assert refusal.value.metadata == {"rule": "denied"}


@pytest.mark.parametrize(
    ("facts", "name"),
    [
        ({"peer_spiffe_id": [b"spiffe://a/b"], "peer_uri": [b"spiffe://a/b"]}, "spiffe://a/b"),
        ({"peer_uri": [b"https://a/b"], "peer_dns": [b"a", b"b"]}, "https://a/b"),
        ({"peer_dns": [b"a.example"]}, "a.example"),
    ],
)
def test_one_uri_or_else_one_dns_name_is_an_identity(facts: dict[str, list[bytes]], name: str) -> None:
    assert identity(facts) == name


@pytest.mark.parametrize(
    "facts",
    [
        {},
        {"x509_common_name": [b"admin"]},
        {"peer_uri": [b"spiffe://a/b", b"spiffe://a/c"]},
        {"peer_dns": [b"a", b"b"]},
        {"peer_email": [b"admin@example.org"], "x509_subject_alternative_name": [b"admin@example.org"]},
    ],
)
def test_anything_else_is_nobody(facts: dict[str, list[bytes]]) -> None:
    with pytest.raises(UnauthenticatedError):
        identity(facts)


@pytest.mark.parametrize(
    ("role", "others", "seen", "changed"),
    [
        (Role.VIEWER, None, ["me"], ["me"]),
        (Role.ADMIN, None, ["me", "a/1", "b"], ["me", "a/1", "b"]),
        (Role.VIEWER, ("*",), ["me", "a/1", "b"], ["me"]),
        (Role.OPERATOR, ("a/*",), ["me", "a/1"], ["me"]),
        (Role.ADMIN, ("a/*",), ["me", "a/1"], ["me", "a/1"]),
        (Role.ADMIN, (), ["me"], ["me"]),
    ],
)
def test_what_somebody_sees_is_apart_from_what_they_may_do(
    role: Role, others: tuple[str, ...] | None, seen: list[str], changed: list[str]
) -> None:
    caller = Caller(Owner("me"), role, others=others)
    owners = [Owner(each) for each in ("me", "a/1", "b")]

    assert [owner for owner in owners if caller.sees(owner)] == seen
    assert [owner for owner in owners if caller.may_change(owner)] == changed


def test_what_a_grant_lets_somebody_see_is_what_its_caller_sees() -> None:
    roster = Roster([Grant("a", Role.VIEWER, others=("b",))])

    assert roster.admit("a", "00").others == ("b",)
