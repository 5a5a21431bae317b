"""One run: the site, everybody who plays, the record, and the judges who read it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from random import Random
from typing import Protocol

from chaos import chains, deadlines, evidence, orders, records, watches
from chaos.caller import Caller
from chaos.driver import Driver, Janitor
from chaos.findings import Finding
from chaos.history import History, Listed
from chaos.ids import Ids
from chaos.killer import Killer
from chaos.pace import pause
from chaos.seen import Status
from chaos.site import PATIENCE, Site
from chaos.traps import Traps
from chaos.watcher import Watcher

_WATCHERS = 2


class Player(Protocol):
    """Somebody who acts until it is enough."""

    async def run(self, enough: asyncio.Event) -> None:
        """Play."""


class Game:
    """Everybody who plays, and what was said."""

    def __init__(self, directory: Path, seed: str, clients: int) -> None:
        """Describe a run; `play` brings everybody together."""
        self.history = History(directory / "history.jsonl")
        self._traps = Traps(directory, self.history, Random(f"{seed}/traps"))
        self.site = Site(directory, Random(f"{seed}/site"), self._traps)
        self.killer = Killer(self.site, self.history, Random(f"{seed}/killer"))
        self.findings: list[Finding] = []
        self._seed = seed
        self._clients = clients
        self._ids = Ids()
        self._callers: list[Caller] = []

    async def play(self, seconds: float) -> None:
        """Let everybody play for so long, then bring everything to its end."""
        await self.site.start()
        drivers = [self._driver(f"client-{number}") for number in range(self._clients)]
        watchers = [self._watcher(f"watcher-{number}") for number in range(_WATCHERS)]
        watchers[0].on_final = self._nothing_is_left_of
        last = self._caller("janitor")
        janitor = Janitor(last, self._ids, Random(f"{self._seed}/janitor"))
        enough = asyncio.Event()
        watching = [asyncio.create_task(watcher.run()) for watcher in watchers]
        async with asyncio.TaskGroup() as group:
            players: tuple[Player, ...] = (*drivers, janitor, self.killer)
            for player in players:
                group.create_task(player.run(enough))
            group.create_task(_ring(enough, seconds))
        self.site.calm()
        if await self.site.serves(PATIENCE):
            await self._end_all_tasks(janitor, last)
            await self._catch_up(watchers, last)
        else:
            self._find("the site comes back", [f"not within {PATIENCE:g} s after the last strike"])
        for watch in watching:
            watch.cancel()
        await asyncio.wait(watching)
        await self._leave()

    def judge(self) -> list[Finding]:
        """Return everything that was found, also while they played."""
        told = evidence.Evidence(evidence.read(self.site.evidence), self.history)
        self.findings += chains.judge(self.history)
        self.findings += watches.judge(self.history)
        strikes = [*self.killer.strikes, *self._traps.strikes]
        self.findings += told.judge(self.killer.shims_killed)
        self.findings += deadlines.judge(told, self.history, strikes)
        self.findings += orders.judge(self.history.calls, told.starts())
        self.findings += records.judge(self.site.directory / "state" / "audit", told)
        return self.findings

    def totals(self) -> Iterator[str]:
        """Yield what there was of everything."""
        told = evidence.Evidence(evidence.read(self.site.evidence), self.history)
        yield f"{len(self.history.calls)} calls: {_counted(self.history.counts)}"
        yield f"{sum(map(len, self.history.watches.values()))} messages in {len(self.history.watches)} watches"
        yield f"{sum(self.killer.counts.values())} strikes: {_counted(self.killer.counts)}"
        yield f"{len(self._traps.strikes)} traps: {_counted(Counter(strike.kind for strike in self._traps.strikes))}"
        states = Counter(attempt.state for attempt in told.attempts.values())
        yield f"{len(told.names)} tasks, {len(told.attempts)} ended attempts: {_counted(states)}"
        yield f"evidence of {len(told.lines['start'])} starts and {len(told.lines['cleanup'])} cleanups"

    async def _end_all_tasks(self, janitor: Janitor, caller: Caller) -> None:
        listed = {status.task_id for status in await _everything(caller)}
        for task_id in sorted({*self._ids.retired, *self._ids.current(), *listed}):
            try:
                async with asyncio.timeout(PATIENCE):
                    await janitor.end(task_id)
            except TimeoutError:
                self._find("every task ends when stopped", [f"{task_id} has not, within {PATIENCE:g} s"])
        self._find("every task has ended", [status for status in await _everything(caller) if not status.final])

    async def _catch_up(self, watchers: list[Watcher], caller: Caller) -> None:
        newest = max((status.revision for status in await _everything(caller)), default=0)
        for watcher in watchers:
            try:
                async with asyncio.timeout(PATIENCE):
                    await watcher.reaches(newest)
            except TimeoutError:
                self._find("a watch catches up", [f"{watcher.name} is at {watcher.revision}, the site at {newest}"])

    async def _leave(self) -> None:
        for caller in self._callers:
            self._find("every answer is one of the contract", caller.errors)
            await caller.close()
        if (code := await self.site.stop()) != 0:
            self._find("the agent ends when asked", [f"exit code {code}"])
        self._find("nothing is left in the process table", self.site.below())
        self._find("the agent stays up", self.site.incidents)
        log = self.site.log.read_text(encoding="utf-8", errors="replace")
        if "Traceback" in log:
            self._find("the agent makes no errors of its own", [log[log.index("Traceback") - 200 :][:4000]])

    def _nothing_is_left_of(self, status: Status) -> None:
        self._find("nothing outlives its task", [f"{status}: {process}" for process in self.site.traces(status.uid)])

    def _caller(self, name: str) -> Caller:
        self._callers.append(Caller(name, self.site.address, self.history))
        return self._callers[-1]

    def _driver(self, name: str) -> Driver:
        dice = Random(f"{self._seed}/{name}")
        return Driver(self._caller(name), self._ids, dice, self._seed, str(self.site.evidence))

    def _watcher(self, name: str) -> Watcher:
        return Watcher(name, self._caller(name), self.history, Random(f"{self._seed}/{name}"))

    def _find(self, invariant: str, found: Iterable[object]) -> None:
        self.findings += [Finding(invariant, str(what)) for what in found]


async def _everything(caller: Caller) -> list[Status]:
    found: list[Status] = []
    token = ""
    while True:
        call, token = await caller.list(page_token=token)
        if isinstance(call.answer, Listed):
            found += [status for status, _ in call.answer.tasks]
        if not token:
            return found


async def _ring(enough: asyncio.Event, seconds: float) -> None:
    await pause(seconds, enough)
    enough.set()


def _counted(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {what}" for what, count in sorted(counts.items()))
