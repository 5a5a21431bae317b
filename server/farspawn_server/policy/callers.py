"""Who calls, in which role, and what each role may do: one exact table, and whatever is not in it is denied."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from farspawn_server.task.errors import PolicyDeniedError
from farspawn_server.task.spec import Owner


class Role(enum.IntEnum):
    """What somebody may do; each role may do all that the ones before it may."""

    VIEWER = 1
    OPERATOR = 2
    ADMIN = 3


NEEDS: Mapping[str, Role] = {
    "GetSite": Role.VIEWER,
    "Poll": Role.VIEWER,
    "WatchTasks": Role.VIEWER,
    "ListTasks": Role.VIEWER,
    "ReadLogs": Role.VIEWER,
    "LaunchTask": Role.OPERATOR,
    "StopTask": Role.OPERATOR,
    "SignalTask": Role.OPERATOR,
    "WriteInput": Role.OPERATOR,
    "DeleteTask": Role.OPERATOR,
}
"""The role that each method of the contract needs."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Whoever makes a call. Tasks belong to the identity that launched them.

    Attributes:
        identity: whom their certificate names.
        role: what they may do.
        peer: from where, as gRPC says it.
        others: whose tasks they see besides their own: identities, or beginnings of some before a final `*`.
    """

    identity: Owner
    role: Role
    peer: str = field(default="", compare=False)
    others: tuple[str, ...] | None = None  # None: an admin everybody's, all others nobody's

    @property
    def is_at_socket(self) -> bool:
        """Whether the call comes by a Unix socket, which only the site's owner can open."""
        return self.peer.startswith(LOCAL.peer)

    def sees(self, owner: Owner) -> bool:
        """Whether tasks of this owner exist for the caller."""
        if owner == self.identity:
            return True
        if self.others is None:
            return self.role is Role.ADMIN
        return any(_covers(each, owner) for each in self.others)

    def may_change(self, owner: Owner) -> bool:
        """Whether the caller may do more to tasks of this owner than look, as far as their role goes."""
        return owner == self.identity or (self.role is Role.ADMIN and self.sees(owner))


LOCAL = Caller(Owner("local"), Role.ADMIN, "unix:")
"""Whoever can open the Unix socket: its directory is for the site's owner only. Also whoever --insecure lets in."""


@dataclass(frozen=True, slots=True)
class Grant:
    """A role for an identity, or for all whose identity begins with what stands before a final `*`.

    `others`: see Caller.
    """

    identity: str
    role: Role
    others: tuple[str, ...] | None = None

    def covers(self, identity: str) -> bool:
        """Whether it is for this identity."""
        return _covers(self.identity, identity)


def _covers(pattern: str, identity: str) -> bool:
    if pattern.endswith("*"):
        return identity.startswith(pattern[:-1])
    return identity == pattern


@dataclass(frozen=True, slots=True)
class Roster:
    """Whom the site's owner lets in.

    Attributes:
        grants: who has which role; an exact grant goes before a prefix, a longer prefix before a shorter.
        denied: identities, and fingerprints of certificates (SHA-256, lower-case hexadecimal), that are let in no more.
    """

    grants: Sequence[Grant] = ()
    denied: frozenset[str] = frozenset()

    def admit(self, identity: str, fingerprint: str) -> Caller:
        """Return the caller with this identity and certificate.

        Raises:
            PolicyDeniedError: the site's owner lets them in no more, or never did.
        """
        if identity in self.denied or fingerprint in self.denied:
            raise PolicyDeniedError(f"{identity} is denied by this site", rule="denied")
        fitting = [grant for grant in self.grants if grant.covers(identity)]
        if not fitting:
            raise PolicyDeniedError(f"{identity} has no role at this site: ask its owner for a grant", rule="grants")
        best = max(fitting, key=lambda grant: (not grant.identity.endswith("*"), len(grant.identity)))
        return Caller(Owner(identity), best.role, others=best.others)


def authorise_renewal(caller: Caller) -> None:
    """Raise PolicyDeniedError unless the caller may keep tasks alive, which is more than to look at them."""
    if caller.role < Role.OPERATOR:
        raise PolicyDeniedError("renew_leases needs the role operator", rule="roles.renew_leases")


def authorise(caller: Caller, method: str) -> None:
    """Raise PolicyDeniedError unless the caller's role may call a method of the contract."""
    needed = NEEDS.get(method)
    if needed is None or caller.role < needed:
        role = "no role" if needed is None else f"the role {needed.name.lower()}"
        raise PolicyDeniedError(
            f"{method} needs {role}; {caller.identity} has {caller.role.name.lower()}", rule=f"roles.{method}"
        )
