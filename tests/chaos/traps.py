"""Places within the agent at which it kills itself: what no killer from outside hits, for they are passed in no time.

They are the failpoints of `farspawn_core.failpoint`, one for each agent that is started, and each strikes once.
"""

from __future__ import annotations

from pathlib import Path
from random import Random

from chaos.history import History
from chaos.strike import Strike
from farspawn_core import failpoint

_SHARE = 0.7
"""Of the agents have a trap."""
_VICTIMS = ("self", "self", "peer", "both")


class Traps:
    """The traps of one run. Used from one event loop."""

    def __init__(self, directory: Path, history: History, dice: Random) -> None:
        """Their flags go into the directory."""
        self.strikes: list[Strike] = []
        self._directory = directory
        self._history = history
        self._dice = dice
        self._armed: tuple[str, str, Path] | None = None
        self._count = 0

    def arm(self) -> dict[str, str]:
        """Return the environment in which the next agent has a trap, or none."""
        name, victim = self._dice.choice(failpoint.NAMES), self._dice.choice(_VICTIMS)
        if self._dice.random() > _SHARE:
            return {}
        self._count += 1
        flag = self._directory / f"trap-{self._count}"
        self._armed = (name, victim, flag)
        return {"FARSPAWN_FAILPOINT": f"{name}:{victim}:{flag}"}

    def disarm(self) -> bool:
        """Let the trap of this agent strike no more; return whether it has struck and killed the keeper."""
        if self._armed is None:
            return False
        name, victim, flag = self._armed
        self._armed = None
        try:
            flag.touch(exist_ok=False)
        except FileExistsError:
            at = self._history.moment(flag.stat().st_mtime_ns)
            self.strikes.append(Strike(f"{name}:{victim}", at, at))
            self._history.note(f"{name}:{victim}", at)
            return victim == "both" or (victim == "self") == name.startswith("keeper.")
        return False
