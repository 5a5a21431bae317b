"""What a task may have at most: a caller may ask for less, never for more."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta

from farspawn_server.task.errors import PolicyDeniedError
from farspawn_server.task.spec import Lease, Resources, Spec, StopPlan
from farspawn_server.task.stop import DEFAULT_PLAN


@dataclass(frozen=True, slots=True)
class Ceilings:
    """None and 0: no ceiling. `resources.niceness` is the least, all others are the most."""

    max_runtime: timedelta | None = None
    lease_ttl: timedelta | None = None
    max_stop: timedelta | None = None
    resources: Resources = Resources()

    def within(self, other: Ceilings) -> Ceilings:
        """Return the lower of both, one by one."""
        resources = {}
        for each in dataclasses.fields(Resources):
            both = [getattr(self.resources, each.name), getattr(other.resources, each.name)]
            least = min(filter(None, both), default=0)
            resources[each.name] = max(both) if each.name == "niceness" else least
        return Ceilings(
            _lower(self.max_runtime, other.max_runtime),
            _lower(self.lease_ttl, other.lease_ttl),
            _lower(self.max_stop, other.max_stop),
            Resources(**resources),
        )

    def lower(self, spec: Spec) -> Spec:
        """Return the spec with all that it does not ask for at its ceiling.

        Raises:
            PolicyDeniedError: it asks for more than there is.
        """
        if self == _NONE:
            return spec
        lease = spec.lease
        if self.lease_ttl is not None:
            lease = Lease(self.lease_ttl) if lease is None else lease
            _refuse_above(lease.ttl, self.lease_ttl, "ceilings.lease_ttl_seconds")
        max_runtime = spec.max_runtime
        if self.max_runtime is not None:
            max_runtime = self.max_runtime if max_runtime is None else max_runtime
            _refuse_above(max_runtime, self.max_runtime, "ceilings.max_runtime_seconds")
        stop, cleanup = spec.stop, spec.cleanup
        if self.max_stop is not None:
            self.admit_stop(stop)
            rest = self.max_stop - (stop.linger or timedelta(0)) - (stop.drain or timedelta(0))
            stop = stop.or_else(replace(DEFAULT_PLAN, grace=min(rest, DEFAULT_PLAN.grace or rest)))
            if cleanup is not None:
                cleanup = replace(cleanup, timeout=min(cleanup.timeout, self.max_stop))
        resources = Resources(**dict(self._resources(spec.resources)))
        return replace(spec, lease=lease, max_runtime=max_runtime, stop=stop, cleanup=cleanup, resources=resources)

    def admit_stop(self, plan: StopPlan) -> None:
        """Raise PolicyDeniedError if a stop by this plan may take longer than there is; gaps count as nothing."""
        if self.max_stop is not None:
            spans = (plan.linger, plan.drain, plan.grace)
            whole = sum((each for each in spans if each is not None), timedelta(0))
            _refuse_above(whole, self.max_stop, "ceilings.max_stop_seconds")

    def _resources(self, asked: Resources) -> Iterator[tuple[str, int]]:
        for each in dataclasses.fields(Resources):
            wanted, ceiling = getattr(asked, each.name), getattr(self.resources, each.name)
            too_much = wanted < ceiling if each.name == "niceness" else wanted > ceiling
            if wanted and ceiling and too_much:
                raise PolicyDeniedError(
                    f"{each.name} = {wanted}: this site allows {ceiling}", rule=f"ceilings.{each.name}"
                )
            yield each.name, wanted or ceiling


_NONE = Ceilings()


def _lower(one: timedelta | None, other: timedelta | None) -> timedelta | None:
    return min((each for each in (one, other) if each is not None), default=None)


def _refuse_above(wanted: timedelta, ceiling: timedelta, rule: str) -> None:
    if wanted > ceiling:
        raise PolicyDeniedError(
            f"{wanted.total_seconds():g} s: this site allows {ceiling.total_seconds():g} s", rule=rule
        )
