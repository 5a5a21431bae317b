"""A stop under way: from a plan of spans to moments that a restart of the agent does not move."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta

from farspawn_server.task.clocks import Monotonic, nanoseconds
from farspawn_server.task.outcome import Cause
from farspawn_server.task.spec import StopPlan, StopScope

DEFAULT_PLAN = StopPlan(
    linger=timedelta(0), drain=timedelta(0), signal=15, grace=timedelta(seconds=10), scope=StopScope.TREE
)


@dataclass(frozen=True, slots=True)
class Stop:
    """A stop under way: its deadlines are fixed when it is asked for, but for a grace that begins late.

    Attributes:
        cause: why.
        by: the identity that asked; empty if the site did.
        signal: what is sent at `signal_at`; nothing is sent if `kill_at` is not later.
        signal_at: when linger and drain are over; after the signal, when it was sent.
        kill_at: when grace is over.
        scope: whom the signal is sent to; when the leader is gone, it is all that is left.
    """

    cause: Cause
    by: str
    signal: int
    signal_at: Monotonic
    kill_at: Monotonic
    scope: StopScope = StopScope.TREE

    @staticmethod
    def by_plan(plan: StopPlan, now: Monotonic, *, cause: Cause, by: str = "") -> Stop:
        """Return the stop that a plan without gaps means at this moment."""
        assert plan.linger is not None
        assert plan.drain is not None
        assert plan.signal is not None
        assert plan.grace is not None
        assert plan.scope is not None
        signal_at = now + nanoseconds(plan.linger) + nanoseconds(plan.drain)
        return Stop(cause, by, plan.signal, signal_at, signal_at + nanoseconds(plan.grace), plan.scope)

    @property
    def asks(self) -> bool:
        """Whether the signal is sent at all before SIGKILL."""
        return self.kill_at > self.signal_at

    def not_before(self, now: Monotonic) -> Stop:
        """Return the stop whose signal is sent now, if it is overdue: its grace is as long as it was."""
        late = max(0, now - self.signal_at)
        return replace(self, signal_at=self.signal_at + late, kill_at=self.kill_at + late)

    def shortened_by(self, other: Stop) -> Stop:
        """Return this stop with each deadline brought forward to the other's, where that is earlier."""
        return replace(self, signal_at=min(self.signal_at, other.signal_at), kill_at=min(self.kill_at, other.kill_at))
