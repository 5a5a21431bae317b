"""One task in the supervisor's care: its lock, its timer, and every move that it makes.

The law of the lock: whoever changes a task holds its lock from the first look to the commit, and holds no other. What
is not committed has not happened: `task` changes after the store has it, is published after that, and only then is the
keeper told to do what follows from it. There are two exceptions. What the shim remembers is not committed: that the
leader runs, that its output waits. And a stop does not wait for the disk: docs/adr/0011-stop-without-disk.md.
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
from farspawn_server.supervisor.launch_rate import LaunchRate
from farspawn_server.supervisor.orders import order
from farspawn_server.supervisor.readiness import until_ready
from farspawn_server.supervisor.settle import SUPERVISION_LOST, is_remembered, settled
from farspawn_server.supervisor.steps import Steps
from farspawn_server.supervisor.unkillable import unkillable
from farspawn_server.task.clocks import Moment, Monotonic, nanoseconds
from farspawn_server.task.life import EARLIER_ATTEMPTS_KEPT, Task
from farspawn_server.task.outcome import Cause, State
from farspawn_server.task.spec import StopScope
from farspawn_server.task.stop import Stop

log = logging.getLogger(__name__)

REVISIONS_UNSTORED = 1 << 20
"""So many revisions may have been told since the last one that is stored; a server that starts goes on after them, so
that none is told twice."""
_STORED_EVERY = REVISIONS_UNSTORED >> 4
_DISK_SECONDS = 1.0
"""How long a stop waits for the disk."""


@dataclass(frozen=True, slots=True)
class Ground:
    """What every charge stands on.

    Attributes:
        hello: who the keeper is.
        next_revision: gives a greater number at each call.
        ended: is told of each task that reached a final state.
        lag: how late we are to hear those who call.
        rate: how often processes are started.
    """

    store: Store
    link: KeeperLink
    hello: Hello
    logs: LogFiles
    changes: Changes
    next_revision: Callable[[], int]
    ended: Callable[[Charge], None]
    lag: LoopLag = field(default_factory=LoopLag)
    rate: LaunchRate = field(default_factory=lambda: LaunchRate(0))


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
        self._look: asyncio.Task[None] | None = None
        self._restart_held_until: Monotonic | None = None
        self._lease_ends: int | None = None  # on the clock of those who were heard in time
        self._heard: asyncio.Future[None] | None = None
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
        task = dataclasses.replace(task, revision=self._ground.next_revision())
        if task.state.final:
            failpoint.reach("server.exit.before_store")
        await self._ground.store.put(task, record)
        if task.revision < self._ground.changes.revision:
            await self.commit(task)  # a stop did not wait for the disk that we waited for: this is to be told after it
        else:
            self._become(task)

    async def _carry_out(self, task: Task) -> None:
        """Like `commit`, for a step of a stop: what the disk does not take in time is stored when it does."""
        task = dataclasses.replace(task, revision=self._ground.next_revision())
        storing = self._ground.store.put(task)
        storing.add_done_callback(self._store_if_failed)
        await self._become_in_turn(task, storing)

    async def _tell(self, task: Task) -> None:
        """Make known what is not to be stored, after what is being stored. Called with the lock held."""
        task = dataclasses.replace(task, revision=self._ground.next_revision())
        await self._become_in_turn(task, self._ground.store.turn())

    async def _become_in_turn(self, task: Task, turn: asyncio.Future[None]) -> None:
        await asyncio.wait({turn}, timeout=_DISK_SECONDS)
        self._become(task)

    def _become(self, task: Task) -> None:
        if task.revision < self._ground.changes.revision:  # somebody's patience with the disk was over before ours
            task = dataclasses.replace(task, revision=self._ground.next_revision())
        if task.revision % _STORED_EVERY == 0 and not task.state.final:
            self._steps.begin(self._store)
        before, self.task = self.task, task
        self._ground.changes.publish(task)
        self._follow_up(before, task)
        self._look_for_readiness()
        self._arm()

    def _store_if_failed(self, storing: asyncio.Future[None]) -> None:
        if not storing.cancelled() and (error := storing.exception()) is not None:
            log.warning("a stop goes on, not stored yet", extra={"uid": self.task.uid, "error": str(error)})
            self._steps.begin(self._store)

    async def _store(self) -> None:
        """Store the task as it is."""
        async with self.lock:
            if not self.task.state.final:  # else all was stored with its end, and it may be deleted by now
                await self._ground.store.put(self.task)

    async def stop(self, stop: Stop) -> Task:
        """Begin to stop the task, or shorten the stop that is under way; return the task as it is then.

        Raises:
            StoreError: it waits for its next attempt, and that it is not to have one cannot be stored.
        """
        async with self.lock:
            if not self.task.state.final:
                stopping = self.task.stopping(stop, Moment.now())
                if stopping.state.final:
                    await self.commit(stopping)
                elif stopping != self.task:
                    failpoint.reach("server.stop.before_store")
                    await self._carry_out(stopping)
                    failpoint.reach("server.stop.stored")
            return self.task

    async def cut_off(self, cause: Cause, message: str) -> None:
        """Record that nobody can know what became of the task.

        Raises:
            StoreError: it is not stored.
        """
        async with self.lock:
            await self.commit(self.task.cut_off(cause, message, Moment.now()))

    def hold(self, holding: Holding) -> None:
        """Take in what the keeper knows; only the newest counts."""
        self._holding = holding
        if holding.ended or holding.failure or holding.lost or self.lock.locked():
            self._steps.begin(self._settle)
        elif self._ground.store.busy:
            revision = self._ground.next_revision()
            self._ground.store.turn().add_done_callback(lambda _: self._hold_in_turn(holding, revision))
        else:
            self._hold_in_turn(holding, self._ground.next_revision())

    def _hold_in_turn(self, holding: Holding, revision: int) -> None:
        """Make known that the task runs, and whether its output waits: that is not stored.

        Every launch comes here. So no asyncio task is made to wait for the lock if it is free.
        """
        if holding is not self._holding or self.lock.locked():
            self._steps.begin(self._settle)
        elif self._is_awaited(holding):
            if (after := settled(self.task, holding, Moment.now())) is not self.task:
                self._become(dataclasses.replace(after, revision=revision))
            self._heard_of()

    async def _settle(self) -> None:
        """Bring the task to where the keeper says it is."""
        async with self.lock:
            holding = self._holding
            assert holding is not None
            if not self._is_awaited(holding):
                return
            before = self.task
            after = settled(before, holding, Moment.now())
            if after is not before:
                if is_remembered(before, after):
                    await self._tell(after)
                else:
                    await self.commit(after)
            if after.ending is not None and holding.uid == after.run and holding.ended is not None and holding.alive:
                self._ground.link.kill(holding.uid)  # the cleanup has ended and left something behind
            self._heard_of()

    def _is_awaited(self, holding: Holding) -> bool:
        """Whether it is about the run that the task waits for; another one was stored, and the keeper is told again."""
        awaited = not (self.task.state.final or self.task.state is State.PENDING) and holding.uid == self.task.run
        if not awaited:
            self._ground.link.forget(holding.uid)
        return awaited

    def heard(self) -> asyncio.Future[None]:
        """Return what is done when the keeper has told of the task, and that was taken in. To be called once."""
        self._heard = asyncio.get_running_loop().create_future()
        return self._heard

    def _heard_of(self) -> None:
        if self._heard is None:
            return
        self._heard.set_result(None)
        self._heard = None
        # Do again what the server before this one may not have done.
        if _to_be_killed(self.task):
            self._ground.link.kill(self.task.run)
        elif self.task.stop and self.task.times.signalled and self.task.ending is None:
            self._send_stop_signal()

    def resume(self) -> None:
        """Go on after a restart of the server."""
        self._look_for_readiness()
        self._arm()

    async def _advance(self) -> None:
        """Do what is due."""
        async with self.lock:
            task, moment = self.task, Moment.now()
            now = moment.monotonic
            if task.state.final:
                return
            if _to_be_killed(task):
                self._look_at_what_resists()
            elif task.ending is not None:
                if now >= task.ending.until:
                    await self._carry_out(task.cleanup_killed())
            elif task.state is State.PENDING and self._restart_is_due(now):
                self._ground.rate.restarted(task.owner)
                await self.commit(task.next_attempt(self._ground.hello.boot))
                self._restart_held_until = None
            elif task.stop is None:
                if (stop := due_stop(task, self._lease_until, now)) is not None:
                    await self._stop_by_itself(stop, moment)
            elif task.asked_by is not None and now >= task.asked_by:
                # Even if a slow start or an outage of the agent has outlasted the grace: it begins now.
                # Recorded first: a task that was signalled must never look as if it had ended by itself.
                await self._carry_out(task.signalled(moment))
                failpoint.reach("server.signal.stored")
                self._send_stop_signal()
                failpoint.reach("server.signal.sent")
            elif now >= task.stop.kill_at:
                await self._carry_out(task.killed(moment))
            self._arm()

    def _restart_is_due(self, now: Monotonic) -> bool:
        """Whether the wait before the next attempt is over, and then that for the owner's rate of launches."""
        if self.task.restart_at is None or now < self.task.restart_at:
            return False
        if self._restart_held_until is None:
            self._restart_held_until = now + int(self._ground.rate.restart_in(self.task.owner) * 1e9)
        return now >= self._restart_held_until

    async def _stop_by_itself(self, stop: Stop, moment: Moment) -> None:
        stopping = self.task.stopping(stop, moment)
        await (self.commit(stopping) if stopping.state.final else self._carry_out(stopping))

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
        if before.revision and (task.run != before.run or not waits_for_process):
            failpoint.reach("server.exit.stored")
            link.forget(before.run)
            failpoint.reach("server.exit.forgotten")
        if task.state is State.STARTING or (task.ending and not before.ending):
            step = "cleanup" if task.ending else "launch" if task.attempt == 1 else "restart"
            failpoint.reach(f"server.{step}.stored")
            link.spawn(order(task))
            failpoint.reach(f"server.{step}.ordered")
        if task.attempt > before.attempt and (too_old := task.attempt - EARLIER_ATTEMPTS_KEPT - 1) > 0:
            asyncio.get_running_loop().run_in_executor(None, self._ground.logs.remove_attempt, task.uid, too_old)
        if _to_be_killed(task) and not _to_be_killed(before):
            failpoint.reach("server.kill.stored")
            link.kill(task.run)
            failpoint.reach("server.kill.ordered")
        if task.state.final:
            self._ground.ended(self)
            log.info("task ended", extra={"uid": task.uid, "task_id": task.task_id, "state": task.state.value})

    def _send_stop_signal(self) -> None:
        task, link = self.task, self._ground.link
        assert task.stop is not None
        # Whoever would have passed it on is gone when the leader is: then all that it left behind is asked.
        tree = task.stop.scope is StopScope.TREE or task.leader is not None
        link.send_signal(task.run, task.stop.signal, tree=tree)
        # A stopped process sees no other signal until it is continued.
        link.send_signal(task.run, signal.SIGCONT, tree=tree)
        self._look_at_what_resists()

    def _look_at_what_resists(self) -> None:
        if self._look is None or self._look.done():
            self._look = self._steps.begin(self._name_what_resists)

    async def _name_what_resists(self) -> None:
        """Say what cannot be ended; in the end the task is over without that."""
        run = self.task.run
        members = await self._ground.link.members(run)  # without the lock: others are not to wait for the answer
        async with self.lock:
            task, moment = self.task, Moment.now()
            if task.state is not State.STOPPING or task.run != run:
                return
            found = unkillable(members, struck=_to_be_killed(task))
            if found and _has_survivors(task, moment.monotonic):
                assert task.leader is not None
                dice = random.random()  # noqa: S311  # spreads restarts; guards nothing
                known = task.leader.known
                await self.commit(
                    task.exited(moment, dice, found) if known else task.lost(SUPERVISION_LOST, moment, dice, found)
                )
            elif found != task.unkillable:
                await self._tell(task.resisting(found))

    # --- time ----------------------------------------------------------------------------------------------------

    def _arm(self) -> None:
        """Set the timer to the next deadline."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        task = self.task
        if task.restart_at is not None and self._restart_held_until is not None:
            task = dataclasses.replace(task, restart_at=self._restart_held_until)
        if (deadline := next_deadline(task, self._lease_until, time.monotonic_ns())) is not None:
            # The loop's clock is CLOCK_MONOTONIC, in seconds.
            self._timer = asyncio.get_running_loop().call_at(deadline / 1e9, self._steps.begin, self._advance)


def _has_survivors(task: Task, now: Monotonic) -> bool:
    """Whether what still lives has had its time to end."""
    struck = task.ending is None and task.leader is not None and task.times.killed is not None
    return struck and task.stop is not None and now >= task.stop.kill_at + SURVIVAL_NS


def _to_be_killed(task: Task) -> bool:
    """Whether the run that the task waits for was given SIGKILL. Between two attempts it waits for none."""
    if task.state is State.PENDING:
        return False
    return task.ending.killed if task.ending else task.times.killed is not None
