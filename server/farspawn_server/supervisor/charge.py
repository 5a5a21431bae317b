"""One task in the supervisor's care: its lock, its deadlines, and every move that it makes.

The law of the lock: whoever changes a task holds its lock from the first look to the commit, and holds no other. What
is not committed has not happened: `task` changes after the store has it, and is published after that.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import signal
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from farspawn_server.changes import Changes
from farspawn_server.keeper.messages import Holding
from farspawn_server.link import KeeperLink
from farspawn_server.store import Store, StoreError
from farspawn_server.task.life import (
    Cause,
    LaunchFailure,
    LeaderExit,
    State,
    Stop,
    Survivor,
    Task,
    Usage,
    nanoseconds,
)
from farspawn_server.task.spec import LeaseAction

log = logging.getLogger(__name__)

SURVIVAL_NS = 10_000_000_000
"""How long after SIGKILL what still lives is called a survivor."""
_RETRY_SECONDS = 1.0
_KEEPER_LOST = (
    "the keeper that started the task died; the task ended, or never began, and this kernel does not tell how"
)


@dataclass(frozen=True, slots=True)
class Ground:
    """What every charge stands on.

    Attributes:
        next_revision: gives a greater number at each call.
        ended: is told of each task that reached a final state.
    """

    store: Store
    link: KeeperLink
    changes: Changes
    next_revision: Callable[[], int]
    ended: Callable[[Charge], None]


class Charge:
    """A task, and what moves it. Used from one event loop."""

    def __init__(self, task: Task, ground: Ground) -> None:
        """`task` is stored already, or its revision is 0 and `commit` comes next."""
        self.task = task  # guarded by lock; may be read without it
        self.lock = asyncio.Lock()
        self._ground = ground
        self._holding: Holding | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._under_way: set[asyncio.Task[None]] = set()
        self._lease_until: int | None = None
        self.renew_lease()

    def renew_lease(self) -> None:
        """Give the lease its full ttl again."""
        if (lease := self.task.spec.lease) is not None:
            self._lease_until = time.monotonic_ns() + nanoseconds(lease.ttl)

    async def commit(self, task: Task) -> None:
        """Store a new value of the task, then make it known. Called with the lock held.

        Raises:
            StoreError: it is not stored, and the task is what it was.
        """
        task = dataclasses.replace(task, revision=self._ground.next_revision())
        await self._ground.store.put(task)
        self.task = task
        self._ground.changes.publish(task)
        if task.state.final:
            self._disarm()
            self._ground.link.forget(task.uid)
            self._ground.ended(self)
            log.info("task ended", extra={"uid": task.uid, "task_id": task.task_id, "state": task.state.value})

    async def stop(self, stop: Stop) -> Task:
        """Begin to stop the task, or shorten the stop that is under way; return the task as it is then.

        Raises:
            StoreError: the stop is not stored, and nothing was begun.
        """
        async with self.lock:
            if not self.task.state.final:
                stopping = self.task.stopping(stop, time.time_ns())
                if stopping != self.task:
                    await self.commit(stopping)
                self._arm()
            return self.task

    async def lose(self, cause: Cause, message: str) -> None:
        """Record that nobody can know what became of the task.

        Raises:
            StoreError: it is not stored.
        """
        async with self.lock:
            await self.commit(self.task.lost(cause, message, time.time_ns()))

    def hold(self, holding: Holding) -> None:
        """Take in what the keeper knows; only the newest counts."""
        self._holding = holding
        self._begin(self._settle)

    def resume(self) -> None:
        """Go on after a restart of the server: do again what may not have been done, and keep all deadlines."""
        task = self.task
        if task.times.killed:
            self._ground.link.kill(task.uid)
        elif task.times.signalled:
            self._begin(self._send_stop_signal)
        self._arm()

    async def _settle(self) -> None:
        """Bring the task to where the keeper says it is."""
        async with self.lock:
            holding = self._holding
            assert holding is not None
            if self.task.state.final:
                self._ground.link.forget(self.task.uid)  # stored before a restart, and not forgotten then
                return
            before = self.task
            if (after := _settled(before, holding)) is not before:
                await self.commit(after)
            if not after.state.final:
                self._arm()
                if after.times.signalled and not before.pid and after.pid:
                    # The signal was due before there was a process.
                    self._begin(self._send_stop_signal)

    async def _advance(self) -> None:
        """Do what is due."""
        async with self.lock:
            task, now = self.task, time.monotonic_ns()
            if task.state.final:
                return
            if task.stop is None:
                if (stop := self._due_stop(task, now)) is not None:
                    await self.commit(task.stopping(stop, time.time_ns()))
            elif now >= task.stop.kill_at and not task.times.killed:
                await self.commit(task.killed(time.time_ns()))
                self._ground.link.kill(task.uid)
            elif now >= task.stop.signal_at and not (task.times.signalled or task.times.killed):
                # Recorded first: a task that was signalled must never look as if it had ended by itself.
                await self.commit(task.signalled(time.time_ns()))
                await self._send_stop_signal()
            elif task.leader is not None and task.times.killed and now >= task.stop.kill_at + SURVIVAL_NS:
                await self._name_survivors(task)
            if not self.task.state.final:
                self._arm()

    def _due_stop(self, task: Task, now: int) -> Stop | None:
        """Return the stop that the site itself owes this task now."""
        if task.runtime_until is not None and now >= task.runtime_until:
            return Stop.by_plan(task.plan, now, cause=Cause.MAX_RUNTIME)
        if self._lease_until is not None and now >= self._lease_until:
            assert task.spec.lease is not None
            if task.spec.lease.action is LeaseAction.KILL:
                return Stop(Cause.LEASE_EXPIRED, "", signal.SIGKILL, now, now)
            return Stop.by_plan(task.plan, now, cause=Cause.LEASE_EXPIRED)
        return None

    async def _send_stop_signal(self) -> None:
        stop = self.task.stop
        assert stop is not None
        await self._ground.link.signal(self.task.uid, stop.signal, tree=True)
        # A stopped process sees no other signal until it is continued.
        await self._ground.link.signal(self.task.uid, signal.SIGCONT, tree=True)

    async def _name_survivors(self, task: Task) -> None:
        survivors = tuple(
            Survivor(pid, name, "uninterruptible sleep" if state == "D" else f"state {state}, SIGKILL had no effect")
            for pid, name, state in await self._ground.link.members(task.uid)
        )
        if survivors:
            await self.commit(task.exited(time.time_ns(), survivors))

    def _arm(self) -> None:
        """Set the timer to the next deadline."""
        self._disarm()
        if (deadline := self._next_deadline()) is not None:
            # The loop's clock is CLOCK_MONOTONIC, in seconds.
            self._timer = asyncio.get_running_loop().call_at(deadline / 1e9, self._begin, self._advance)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _next_deadline(self) -> int | None:
        task = self.task
        if task.stop is None:
            return min((each for each in (task.runtime_until, self._lease_until) if each is not None), default=None)
        if task.times.killed:
            # Again and again, for a leader that even SIGKILL does not end: its exit is still to come.
            return max(task.stop.kill_at + SURVIVAL_NS, time.monotonic_ns() + 1_000_000_000)
        if task.times.signalled:
            return task.stop.kill_at
        return task.stop.signal_at

    def _begin(self, step: Callable[[], Awaitable[None]]) -> None:
        """Take a step in the background; try again if it could not be stored."""

        async def persist() -> None:
            try:
                await step()
            except StoreError as error:
                log.warning("not stored, trying again", extra={"uid": self.task.uid, "error": str(error)})
                asyncio.get_running_loop().call_later(_RETRY_SECONDS, self._begin, step)

        under_way = asyncio.create_task(persist())
        self._under_way.add(under_way)  # the loop itself holds tasks only weakly
        under_way.add_done_callback(self._under_way.discard)


def _settled(task: Task, holding: Holding) -> Task:
    """Return the task as it is by what the keeper knows."""
    at, now = time.time_ns(), time.monotonic_ns()
    if holding.failure is not None:
        failure = LaunchFailure(holding.failure.error_number, holding.failure.phase, holding.failure.path)
        return task.failed(failure, at)
    if holding.pid and not task.pid:
        task = task.running(holding.pid, holding.start_time, holding.started_at, now)
    if (ended := holding.ended) is not None:
        if task.leader is None:
            usage = None
            if (spent := ended.spent) is not None:
                usage = Usage(spent.user_seconds, spent.system_seconds, spent.max_resident_bytes)
            task = task.leader_ended(LeaderExit(ended.code, ended.signal, ended.core_dumped, usage, ended.at))
        if holding.left == 0:
            assert task.leader is not None
            return task.exited(at) if task.leader.known else task.lost(Cause.KEEPER_LOST, _KEEPER_LOST, at)
        if task.state is not State.STOPPING:
            # Nothing outlives its task: what the leader left behind is stopped by the task's plan.
            task = task.stopping(Stop.by_plan(task.plan, now, cause=Cause.COMPLETED), at)
    return task
