"""What befalls the site: its processes are killed, stopped for a while, renewed, one at a time or together."""

from __future__ import annotations

import asyncio
import operator
import signal
from collections import Counter
from random import Random

from chaos.history import History
from chaos.pace import pause
from chaos.site import Site, paused
from chaos.strike import Strike
from farspawn_core import cgroup, proc

_KINDS = (
    *("server",) * 7,
    *("keeper",) * 4,
    *("both",) * 2,
    *("pause",) * 2,
    *("pause, keeper",) * 1,
    *("reload",) * 4,
)
_SHIM_KINDS = (
    *("shim",) * 2,
    *("shim, keeper",) * 1,
    *("stop shim",) * 2,
)
"""What a task of the agent's own user can do to its shim. Where there are no cgroups, what had left its leader's tree
outlives a shim that was killed beside its keeper (docs/adr/0010-one-shim-a-task.md): so nothing of it is done there."""

_AT_A_CHANGE = 0.7
_PATIENCE_SECONDS = 2.0
_CALL_SECONDS = 0.01


class Killer:
    """Strikes at random, and leaves nothing stopped but shims. `shims_killed`: the runs of those it has killed."""

    def __init__(self, site: Site, history: History, dice: Random) -> None:
        """`dice` alone decides what is done, and after which pauses."""
        self.strikes: list[Strike] = []
        self.counts: Counter[str] = Counter()
        self.shims_killed: set[str] = set()
        self._kinds = _KINDS if cgroup.home() is None else _KINDS + _SHIM_KINDS
        self._site = site
        self._history = history
        self._dice = dice

    async def run(self, enough: asyncio.Event) -> None:
        """Go on until it is enough."""
        while not enough.is_set():
            # In quick succession, so that recovery is hit too; or long after, so that the keeper's back-off is reset.
            await pause(self._dice.choice((0.0, 0.3, 1.0, 3.0, 5.0, 11.0)) * self._dice.uniform(0.5, 1.5), enough)
            kind = self._dice.choice(self._kinds)
            if self._dice.random() < _AT_A_CHANGE:
                await self._aim()
            start = self._history.now()
            await self._strike(kind)
            self.counts[kind] += 1
            self._note(kind, start)

    async def _aim(self) -> None:
        """Wait for a call that changes something, and then until it is half done: there it hurts most."""
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                await self._history.until_something_changes()
                await asyncio.sleep(self._dice.uniform(0, _CALL_SECONDS))
        except TimeoutError:
            pass  # nobody calls: strike all the same

    async def _strike(self, kind: str) -> None:
        match kind:
            case "server":
                self._kill_server()
            case "keeper":
                self._site.kill_keeper()
            case "both":
                # Whichever comes first leaves the other a moment.
                steps = [self._kill_server, self._site.kill_keeper]
                self._dice.shuffle(steps)
                for step in steps:
                    step()
                    await asyncio.sleep(self._dice.choice((0.0, 0.0, 0.02)))
            case "pause":
                with paused(self._site.server):
                    await asyncio.sleep(self._dice.uniform(0.2, 3))
            case "pause, keeper":
                with paused(self._site.server):
                    await asyncio.sleep(self._dice.uniform(0, 0.5))
                    self._site.kill_keeper()
                    await asyncio.sleep(self._dice.uniform(0, 3))
            case "shim":
                self._kill_shim()
            case "shim, keeper":
                self._kill_shim()
                await asyncio.sleep(self._dice.choice((0.0, 0.0, 0.02)))
                self._site.kill_keeper()
            case "stop shim":
                self._stop_shim()
            case _:
                await self._reload()

    async def _reload(self) -> None:
        keeper = self._site.keeper
        code = await self._site.run("reload")
        # It fails rightly if there was no agent at that moment; nothing else strikes meanwhile.
        if keeper and code and keeper == self._site.keeper:
            if await self._site.serves(30):
                self.counts["reload refused"] += 1
            else:
                self._site.incidents.append(f"farspawnd reload ended with {code}, and the site does not serve")

    def _kill_server(self) -> None:
        if (process := proc.read(self._site.server)) is not None:
            proc.send(process, signal.SIGKILL)

    def _kill_shim(self) -> None:
        if (chosen := self._choose_shim()) is not None:
            run, process = chosen
            self.shims_killed.add(run)
            proc.send(process, signal.SIGKILL)

    def _stop_shim(self) -> None:
        """Whoever is its keeper, or will be, has to continue it."""
        if (chosen := self._choose_shim()) is not None:
            proc.send(chosen[1], signal.SIGSTOP)

    def _choose_shim(self) -> tuple[str, proc.Process] | None:
        shims = self._site.shims
        return self._dice.choice(sorted(shims.items(), key=operator.itemgetter(0))) if shims else None

    def _note(self, kind: str, start: float) -> None:
        strike = Strike(kind, start, self._history.now())
        self.strikes.append(strike)
        self._history.note(kind, start)
