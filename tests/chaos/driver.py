"""What the clients do: whatever the dice say, at a bounded rate, often to the same tasks at the same moment."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from random import Random
from typing import Any

from chaos.caller import Caller
from chaos.history import Call, Fate, Polled
from chaos.ids import Ids
from chaos.pace import pause
from chaos.programs import random_plan, random_spec, span
from farspawn.v1 import launcher_pb2 as pb
from farspawn.v1 import task_pb2

_VERBS = (
    *("launch",) * 10,
    *("stop",) * 4,
    *("signal",) * 3,
    *("poll",) * 6,
    *("list",) * 2,
    *("read",) * 2,
    *("delete",) * 4,
)
_THINK_SECONDS = 0.2
_PATIENT = 0.2
_SIGNALS = (15, 15, 2, 10, 1, 9, 19, 18)
_AT_ONCE = task_pb2.StopPlan(linger=span(0), drain=span(0), grace=span(0.2))


class Driver:
    """One client that does what its dice say. Seed and name decide everything but the answers."""

    def __init__(self, caller: Caller, ids: Ids, dice: Random, seed: str, evidence: str) -> None:
        """`ids` are shared with the other clients."""
        self._caller = caller
        self._ids = ids
        self._dice = dice
        self._seed = seed
        self._evidence = evidence
        self._revision = 0

    async def run(self, enough: asyncio.Event) -> None:
        """Go on until it is enough; the last call is made to its end, for it may have an effect."""
        while not enough.is_set():
            await pause(self._dice.expovariate(1 / _THINK_SECONDS), enough)
            verb = self._dice.choice(_VERBS)
            task_id = self._ids.choose(self._dice)
            # The same call several times at once is what clients that are nervous, or were restarted, do.
            copies = self._dice.choice((1, 1, 1, 1, 2, 3)) if verb not in ("list", "poll") else 1
            calls = await asyncio.gather(*[self._call(verb, task_id) for _ in range(copies)])
            self._revision = max([self._revision, *(_revision(call) for call in calls)])
            if any(call.fate in (Fate.NEVER_SENT, Fate.UNKNOWN) for call in calls):
                await asyncio.sleep(0.2)

    def _call(self, verb: str, task_id: str) -> Coroutine[Any, Any, Call]:
        dice, caller = self._dice, self._caller
        match verb:
            case "launch":
                # Mostly the id's own spec, sometimes another.
                variant = dice.choice((0, 0, 0, 0, 0, 1))
                return caller.launch(task_id, random_spec(f"{self._seed}/{task_id}/{variant}", self._evidence))
            case "stop":
                plan = random_plan(dice)
                if dice.random() < _PATIENT:
                    plan.linger.CopyFrom(span(30))  # longer than any task lasts: it must not put off what was asked for
                return caller.stop(task_id, plan)
            case "signal":
                scope = dice.choice((pb.SIGNAL_SCOPE_LEADER, pb.SIGNAL_SCOPE_TREE))
                return caller.signal(task_id, dice.choice(_SIGNALS), scope)
            case "poll":
                ids = [task_id, *(dice.sample(sorted(self._ids.current()), dice.choice((0, 1, 4))))]
                since = dice.choice((0, self._revision))
                wait = dice.choice((0.0, 0.0, 0.5, 2.0))
                return caller.poll(sorted(set(ids)), wait=wait, since=since, renew=dice.random() < 0.5)
            case "list":
                return self._list(dice.choice((1000, 1000, 5)))
            case "read":
                return caller.read(task_id, follow=dice.random() < 0.5)
            case _:
                return caller.delete(task_id)

    async def _list(self, page_size: int) -> Call:
        call, token = await self._caller.list(page_size=page_size)
        while token:
            call, token = await self._caller.list(page_size=page_size, page_token=token)
        return call


class Janitor:
    """Ends the tasks whose ids are retired, so that a long run does not drown in them."""

    def __init__(self, caller: Caller, ids: Ids, dice: Random) -> None:
        """`ids` are those that the other clients retire."""
        self._caller = caller
        self._ids = ids
        self._dice = dice

    async def run(self, enough: asyncio.Event) -> None:
        """Go on until it is enough."""
        while not enough.is_set():
            if not self._ids.retired:
                await pause(0.2, enough)
                continue
            task_id = self._ids.retired.popleft()
            if await self.end(task_id) and self._dice.random() < 0.9:
                await self._caller.delete(task_id)

    async def end(self, task_id: str) -> bool:
        """Stop a task and wait for its end; return False if there is none."""
        since = 0
        while True:
            stop = await self._caller.stop(task_id, _AT_ONCE)
            call = await self._caller.poll([task_id], wait=2.0, since=since)
            if isinstance(answer := call.answer, Polled):
                since = answer.revision
                if answer.unknown:
                    return False
                if any(status.final for status in answer.statuses):
                    return True
            if stop.fate is not Fate.ANSWERED:
                since = 0
                await asyncio.sleep(0.2)


def _revision(call: Call) -> int:
    return call.answer.revision if isinstance(call.answer, Polled) else 0
