"""How often each owner's processes are started: launches beyond the rate are refused, restarts wait.

Both take from one bucket of tokens. Of its rate restarts have half, in the order in which they became due: a storm of
them leaves their owner the other half for launches.
"""

from __future__ import annotations

from farspawn_server.pace import Pace
from farspawn_server.task.spec import Owner


class LaunchRate:
    """Used from one event loop."""

    def __init__(self, per_second: float) -> None:
        """So many a second, of each owner; 0: any number. It may be changed."""
        self.per_second = per_second
        self._all = Pace()
        self._restarts = Pace()

    def takes(self, owner: Owner) -> bool:
        """Whether the owner may launch one more now."""
        return not self.per_second or self._all.takes(owner, self.per_second)

    def restart_in(self, owner: Owner) -> float:
        """Take a place in the line of the owner's restarts, and return in how many seconds it is reached."""
        return self._restarts.reserve(owner, self.per_second / 2) if self.per_second else 0.0

    def restarted(self, owner: Owner) -> None:
        """Count a restart among the launches."""
        if self.per_second:
            self._all.reserve(owner, self.per_second)
