"""One task in the supervisor's care: its lock, its timer, and every move that it makes.

The law of the lock: whoever changes a task holds its lock from the first look to the commit, and holds no other. What
is not committed has not happened: `task` changes after the store has it, is published after that, and only then is the
keeper told to do what follows from it.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import random
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from farspawn_core import failpoint
from farspawn_server.audit import Record
from farspawn_server.changes import Changes
from farspawn_server.keeper.messages import Hello, Holding
from farspawn_server.link import KeeperLink
from farspawn_server.logs import LogFiles, Output
from farspawn_server.store import Store
from farspawn_server.supervisor.deadlines import SURVIVAL_NS, due_stop, next_deadline
from farspawn_server.supervisor.lag import LoopLag
from farspawn_server.supervisor.orders import order
from farspawn_server.supervisor.readiness import until_ready
from farspawn_server.supervisor.settle import settled
from farspawn_server.supervisor.steps import Steps
from farspawn_server.task.clocks import Moment, nanoseconds
from farspawn_server.task.life import Task
from farspawn_server.task.outcome import Cause, State, Survivor
from farspawn_server.task.stop import Stop

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Ground:
    """What every charge stands on.

    Attributes:
        hello: who the keeper is.
        next_revision: gives a greater number at each call.
        ended: is told of each task that reached a final state.
        lag: how late we are to hear those who call.
    """

    store: Store
    link: KeeperLink
    hello: Hello
    logs: LogFiles
    changes: Changes
    next_revision: Callable[[], int]
    ended: Callable[[Charge], None]
    lag: LoopLag = field(default_factory=LoopLag)


class Charge:
    """A task, and what moves it. Used from one event loop."""

    def __init__(self, task: Task, ground: Ground) -> None:
        """`task` is stored already, or its revision is 0 and `commit` comes next."""
        self.task = task  # guarded by lock; may be read without it
        self.lock = asyncio.Lock()
        self._ground = ground
        self._holding: Holding | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._steps = Steps(task.uid)
        self._readiness: asyncio.Task[None] | None = None
        self._lease_ends: int | None = None  # on the clock of those who were heard in time
        self.renew_lease()

    def renew_lease(self) -> None:
        """Give the lease its full ttl again."""
        if (lease := self.task.terms.lease) is not None:
            self._lease_ends = time.monotonic_ns() - self._ground.lag.total + nanoseconds(lease.ttl)

    @property
    def _lease_until(self) -> int | None:
        """When the lease is over. While the loop lags, a renewal that has come in time waits to be heard."""
        return None if self._lease_ends is None else self._lease_ends + self._ground.lag.total

    @property
    def under_way(self) -> set[asyncio.Task[None]]:
        """The steps that were begun and will soon be over; a readiness check may take as long as its task."""
        return self._steps.under_way - {self._readiness}

    # --- moves ---------------------------------------------------------------------------------------------------

    async def commit(self, task: Task, record: Record | None = None) -> None:
        """Store a new value of the task, make it known, and do what follows from it. Called with the lock held.

        `record` goes into the audit before it; what cannot be put on record is not stored.

        Raises:
            StoreError: it is not stored, and the task is what it was.
        """
        before, task = self.task, dataclasses.replace(task, revision=self._ground.next_revision())
        if task.ending and not before.ending:
            # Of an adopted task another keeper started the leader; but it is this one that is asked for the cleanup.
            task = dataclasses.replace(task, keeper=self._ground.hello.keeper)
        if task.pid and not before.pid:
            failpoint.reach("server.started.before_store")
        if task.state.final:
            failpoint.reach("server.exit.before_store")
        await self._ground.store.put(task, record)
        self.task = task
        self._ground.changes.publish(task)
        self._follow_up(before, task)
        self._look_for_readiness()
        self._arm()

    async def stop(self, stop: Stop) -> Task:
        """Begin to stop the task, or shorten the stop that is under way; return the task as it is then.

        Raises:
            StoreError: the stop is not stored, and nothing was begun.
        """
        async with self.lock:
            if not self.task.state.final:
                stopping = self.task.stopping(stop, Moment.now())
                if stopping != self.task:
                    failpoint.reach("server.stop.before_store")
                    await self.commit(stopping)
                    failpoint.reach("server.stop.stored")
            return self.task

    async def lose(self, cause: Cause, message: str) -> None:
        """Record that nobody can know what became of the task.

        Raises:
            StoreError: it is not stored.
        """
        async with self.lock:
            await self.commit(self.task.lost(cause, message, Moment.now(), dice=0.0))

    def hold(self, holding: Holding) -> None:
        """Take in what the keeper knows; only the newest counts."""
        self._holding = holding
        self._steps.begin(self._settle)

    def resume(self) -> None:
        """Go on after a restart of the server: do again what may not have been done, and keep the deadlines."""
        task = self.task
        if _to_be_killed(task):
            self._ground.link.kill(task.run)
        elif task.stop and task.times.signalled and task.ending is None:
            self._steps.begin(self._send_stop_signal)
        self._look_for_readiness()
        self._arm()

    async def _settle(self) -> None:
        """Bring the task to where the keeper says it is."""
        async with self.lock:
            holding, before = self._holding, self.task
            assert holding is not None
            if before.state.final or before.state is State.PENDING or holding.uid != before.run:
                # Stored before a restart of the server, and not forgotten then.
                self._ground.link.forget(holding.uid)
                return
            after = settled(before, holding, Moment.now())
            if after is not before:
                await self.commit(after)
            if after.ending is not None and holding.uid == after.run and holding.ended is not None and holding.left:
                self._ground.link.kill(holding.uid)  # the cleanup has ended and left something behind

    async def _advance(self) -> None:
        """Do what is due."""
        async with self.lock:
            task, moment = self.task, Moment.now()
            now = moment.monotonic
            if task.state.final:
                return
            if task.ending is not None:
                if now >= task.ending.until and not task.ending.killed:
                    await self.commit(task.cleanup_killed())
            elif task.state is State.PENDING and task.restart_at is not None and now >= task.restart_at:
                await self.commit(task.next_attempt(self._ground.hello.keeper, self._ground.hello.boot))
            elif task.stop is None:
                if (stop := due_stop(task, self._lease_until, now)) is not None:
                    await self.commit(task.stopping(stop, moment))
            elif task.asked_by is not None and now >= task.asked_by:
                # Even if a slow start or an outage of the agent has outlasted the grace: it begins now.
                # Recorded first: a task that was signalled must never look as if it had ended by itself.
                await self.commit(task.signalled(moment))
                failpoint.reach("server.signal.stored")
                await self._send_stop_signal()
                failpoint.reach("server.signal.sent")
            elif now >= task.stop.kill_at and not task.times.killed:
                await self.commit(task.killed(moment))
            elif task.leader is not None and task.times.killed and now >= task.stop.kill_at + SURVIVAL_NS:
                await self._name_survivors(task)
            self._arm()

    async def _note_readiness(self) -> None:
        """Find out when the task is ready, and record it."""
        task = self.task
        assert task.terms.readiness is not None
        await until_ready(
            task.terms.readiness, [self._ground.logs.path(task.uid, task.attempt, each) for each in Output]
        )
        async with self.lock:
            if self.task.state is State.RUNNING and self.task.run == task.run:
                self._readiness = None  # this very task: the commit must not cancel it
                await self.commit(self.task.made_ready())

    def _look_for_readiness(self) -> None:
        wanted = self.task.terms.readiness is not None and self.task.state is State.RUNNING and not self.task.ready
        if wanted and self._readiness is None:
            self._readiness = self._steps.begin(self._note_readiness, again=self._look_again_for_readiness)
        elif not wanted and self._readiness is not None:
            self._readiness.cancel()
            self._readiness = None

    def _look_again_for_readiness(self) -> None:
        self._readiness = None
        self._look_for_readiness()

    # --- what follows from a move --------------------------------------------------------------------------------

    def _follow_up(self, before: Task, task: Task) -> None:
        """Tell the keeper what a stored change means for it. Every order can be given twice: see `resume`."""
        link = self._ground.link
        waits_for_process = not (task.state.final or task.state is State.PENDING)
        if task.pid and not before.pid:
            failpoint.reach("server.started.stored")
        if before.revision and (task.run != before.run or not waits_for_process):
            failpoint.reach("server.exit.stored")
            link.forget(before.run)
            failpoint.reach("server.exit.forgotten")
        if task.state is State.STARTING or (task.ending and not before.ending):
            step = "cleanup" if task.ending else "launch" if task.attempt == 1 else "restart"
            failpoint.reach(f"server.{step}.stored")
            link.spawn(order(task, self._ground.logs))
            failpoint.reach(f"server.{step}.ordered")
        if _to_be_killed(task) and not _to_be_killed(before):
            failpoint.reach("server.kill.stored")
            link.kill(task.run)
            failpoint.reach("server.kill.ordered")
        if task.state.final:
            self._ground.ended(self)
            log.info("task ended", extra={"uid": task.uid, "task_id": task.task_id, "state": task.state.value})

    async def _send_stop_signal(self) -> None:
        stop = self.task.stop
        assert stop is not None
        await self._ground.link.signal(self.task.run, stop.signal, tree=True)
        # A stopped process sees no other signal until it is continued.
        await self._ground.link.signal(self.task.run, signal.SIGCONT, tree=True)

    async def _name_survivors(self, task: Task) -> None:
        survivors = tuple(
            Survivor(pid, name, "uninterruptible sleep" if state == "D" else f"state {state}, SIGKILL had no effect")
            for pid, name, state in await self._ground.link.members(task.run)
        )
        if not survivors or task.leader is None:
            return
        dice = random.random()  # noqa: S311  # spreads restarts; guards nothing
        if task.leader.known:
            await self.commit(task.exited(Moment.now(), dice, survivors))
        else:
            message = f"nobody knows how it ended, and {len(survivors)} processes could not be ended"
            await self.commit(task.lost(Cause.KEEPER_LOST, message, Moment.now(), dice))

    # --- time ----------------------------------------------------------------------------------------------------

    def _arm(self) -> None:
        """Set the timer to the next deadline."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if (deadline := next_deadline(self.task, self._lease_until, time.monotonic_ns())) is not None:
            # The loop's clock is CLOCK_MONOTONIC, in seconds.
            self._timer = asyncio.get_running_loop().call_at(deadline / 1e9, self._steps.begin, self._advance)


def _to_be_killed(task: Task) -> bool:
    """Whether the run that the task waits for was given SIGKILL."""
    return task.ending.killed if task.ending else task.times.killed is not None
