"""What a task may have at most: a caller may ask for less, never for more."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta

from farspawn_server.task.errors import PolicyDeniedError
from farspawn_server.task.spec import Lease, Resources, Spec


@dataclass(frozen=True, slots=True)
class Ceilings:
    """None and 0: no ceiling. `resources.niceness` is the least, all others are the most."""

    max_runtime: timedelta | None = None
    lease_ttl: timedelta | None = None
    resources: Resources = Resources()

    def lower(self, spec: Spec, rule: str) -> Spec:
        """Return the spec with all that it does not ask for at its ceiling.

        Args:
            spec: what was asked for.
            rule: what the ceilings are called in a refusal.

        Raises:
            PolicyDeniedError: it asks for more than there is.
        """
        if self == _NONE:
            return spec
        lease = spec.lease
        if self.lease_ttl is not None:
            lease = Lease(self.lease_ttl) if lease is None else lease
            _refuse_above(lease.ttl, self.lease_ttl, f"{rule}.lease_ttl_seconds")
        max_runtime = spec.max_runtime
        if self.max_runtime is not None:
            max_runtime = self.max_runtime if max_runtime is None else max_runtime
            _refuse_above(max_runtime, self.max_runtime, f"{rule}.max_runtime_seconds")
        resources = Resources(**dict(self._resources(spec.resources, rule)))
        return replace(spec, lease=lease, max_runtime=max_runtime, resources=resources)

    def _resources(self, asked: Resources, rule: str) -> Iterator[tuple[str, int]]:
        for each in dataclasses.fields(Resources):
            wanted, ceiling = getattr(asked, each.name), getattr(self.resources, each.name)
            too_much = wanted < ceiling if each.name == "niceness" else wanted > ceiling
            if wanted and ceiling and too_much:
                raise PolicyDeniedError(
                    f"{each.name} = {wanted}: this site allows {ceiling}", rule=f"{rule}.{each.name}"
                )
            yield each.name, wanted or ceiling


_NONE = Ceilings()


def _refuse_above(wanted: timedelta, ceiling: timedelta, rule: str) -> None:
    if wanted > ceiling:
        raise PolicyDeniedError(
            f"{wanted.total_seconds():g} s: this site allows {ceiling.total_seconds():g} s", rule=rule
        )
