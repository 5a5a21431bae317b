"""The verbs of the contract, for tasks and not for messages: one method each.

What is begun goes on when its caller is gone: a verb that changes something runs in an asyncio task of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

from farspawn_core import failpoint
from farspawn_server.audit import EXISTING
from farspawn_server.changes import Changes, Deletion
from farspawn_server.keeper.messages import Hello, Holding
from farspawn_server.link import KeeperLink
from farspawn_server.logs import LogFiles, Output
from farspawn_server.policy import Caller, Limits, Policy
from farspawn_server.store import Store, StoreError, Tombstone
from farspawn_server.supervisor import follow, records
from farspawn_server.supervisor.charge import REVISIONS_UNSTORED, Charge, Ground
from farspawn_server.supervisor.graveyard import Graveyard
from farspawn_server.supervisor.lag import LoopLag
from farspawn_server.supervisor.launch_rate import LaunchRate
from farspawn_server.supervisor.log_stream import LogPart, LogStream, Start
from farspawn_server.supervisor.registry import Filter, Registry
from farspawn_server.supervisor.stocktaking import take_stock
from farspawn_server.supervisor.uid import continue_after, uuid7
from farspawn_server.task import rules
from farspawn_server.task.errors import (
    DrainingError,
    InputClosedError,
    InputOffsetSkippedError,
    LimitReachedError,
    RecoveringError,
    SpecInvalidError,
    StorageFullError,
    TaskIdReusedError,
    TaskNotEndedError,
    TaskNotFoundError,
    TaskNotRunningError,
    Violation,
)
from farspawn_server.task.life import LOCAL, Task
from farspawn_server.task.outcome import Cause, State, Times
from farspawn_server.task.spec import Owner, Spec, StopPlan, TaskId, Uid
from farspawn_server.task.stop import Stop

log = logging.getLogger(__name__)

_T = TypeVar("_T")

_START_PATIENCE_SECONDS = 1.0
"""How long LaunchTask waits for the process; after that it answers STARTING."""
_RECOVERY_SECONDS = 2.0
"""A server that starts waits until the keeper has told of every task, as long as it tells of one more in so many
seconds: of one that was told to be running nobody is to hear that it starts."""


@dataclass(frozen=True, slots=True)
class Launched:
    """The task of a launch. `created`: by this one. `forgotten`: to make room; how it ended is all that is known."""

    task: Task
    created: bool
    forgotten: bool = False


@dataclass(frozen=True, slots=True)
class InputPart:
    """Bytes for a task's input; the first one has the place `offset`. `end`: nothing follows them."""

    offset: int
    data: bytes
    end: bool


class Supervisor:
    """Every task of the site. Used from one event loop."""

    def __init__(self, *, store: Store, logs: LogFiles, limits: Limits, policy: Policy, drain_patience: float) -> None:
        """Describe a supervisor that serves nothing before `recover`. `drain_patience`: in seconds, see `drain`."""
        self._store = store
        self._logs = logs
        self._rate = LaunchRate(limits.max_launches_per_second)
        self._limits = limits
        self.policy = policy
        self.drain_patience = drain_patience
        self._registry = Registry()
        self._graveyard = Graveyard()
        self._measuring: asyncio.Task[None] | None = None
        self._changes = Changes(0, [])
        self._revision = 0
        self._ground: Ground | None = None  # None: what is stored was not read yet
        self._serving = False
        self._draining = False
        self._early: list[Holding] = []
        self._under_way: set[asyncio.Task[object]] = set()

    # --- the site ------------------------------------------------------------------------------------------------

    async def recover(self, link: KeeperLink, hello: Hello) -> None:
        """Take stock: bring what is stored and what the keeper holds together. From then on calls are served.

        Raises:
            ConnectionError: the keeper is gone; nothing is served.
        """
        stored, tasks = self._store.load()
        self._graveyard.load(self._store.tombstones())
        self._revision = stored + REVISIONS_UNSTORED
        try:
            await self._store.pass_revision(self._revision)
        except StoreError as error:  # the next server tells these revisions again, should we never store anything
            log.warning("cannot store where revisions begin", extra={"error": str(error)})
        self._changes = Changes(self._revision, tasks)
        if tasks:
            continue_after(tasks[-1].uid)
        failpoint.reach("server.recovery.loaded")
        lag = LoopLag()
        self._measuring = asyncio.create_task(lag.measure())
        ground = Ground(
            self._store, link, hello, self._logs, self._changes, self._next_revision, self._ended, lag, self._rate
        )
        charges = [Charge(task, ground) for task in tasks]
        for charge in charges:
            self._registry.add(charge)
        self._ground = ground
        cut_off, heard = take_stock(charges, ground)
        failpoint.reach("server.recovery.judged")
        for holding in self._early:
            self.hold(holding)
        await asyncio.gather(*cut_off)  # together, so that they share commits
        await asyncio.to_thread(self._logs.remove_unknown, {task.uid: task.attempt for task in tasks})
        await self._hear(heard, link)
        self._serving = True
        failpoint.reach("server.recovery.done")
        log.info("recovered", extra={"tasks": len(tasks), "live": self._registry.live_count})

    async def _hear(self, heard: Sequence[asyncio.Future[None]], link: KeeperLink) -> None:
        """Wait until the keeper has told of each task, but not for ever: a shim may have been stopped by somebody."""
        missing = {each for each in heard if not each.done()}
        while missing:
            still_missing = await link.wait(missing, _RECOVERY_SECONDS)
            if len(still_missing) == len(missing):
                log.warning("not heard of all tasks yet", extra={"tasks": len(missing)})
                return
            missing = still_missing

    def hold(self, holding: Holding) -> None:
        """Take in what the keeper knows of a task."""
        if self._ground is None:
            self._early.append(holding)
        elif (charge := self._registry.by_uid(holding.uid.partition("/")[0])) is not None:
            charge.hold(holding)

    async def drain(self) -> None:
        """Take no new tasks, stop by their plans all that are left after `drain_patience`; return when none is."""
        self._draining = True
        until = time.monotonic() + self.drain_patience
        while self._registry.live_count and (left_seconds := until - time.monotonic()) > 0:
            try:
                await self._changes.wait(None, min(left_seconds, 1.0))
            except DrainingError:
                return  # the keeper is gone, and this server ends: the next one goes on
        now = time.monotonic_ns()
        left = self._registry.live()
        while left or self._registry.live_count:
            refused: list[Charge] = []
            for charge in left:
                try:
                    await charge.stop(Stop.by_plan(charge.task.plan, now, cause=Cause.SITE_SHUTDOWN))
                except StoreError as error:
                    log.warning("not stored, trying again", extra={"uid": charge.task.uid, "error": str(error)})
                    refused.append(charge)
            left = refused
            try:
                await self._changes.wait(None, 1.0)
            except DrainingError:
                return  # the keeper is gone, and this server ends: the next one goes on

    async def close(self, patience: float) -> None:
        """Send away everybody who waits, and see through what was begun if that takes no longer. Tasks run on."""
        self._changes.close()
        if self._measuring is not None:
            self._measuring.cancel()
        settling = (each for charge in self._registry.live() for each in charge.under_way)
        if under_way := {*self._under_way, *settling}:
            await asyncio.wait(under_way, timeout=patience)

    @property
    def limits(self) -> Limits:
        """How much the site takes on."""
        return self._limits

    @limits.setter
    def limits(self, limits: Limits) -> None:
        self._limits = limits
        self._rate.per_second = limits.max_launches_per_second

    @property
    def state(self) -> str:
        """One of "recovering", "draining", "serving"."""
        if not self._serving:
            return "recovering"
        return "draining" if self._draining else "serving"

    def load(self) -> tuple[int, int, int]:
        """Return how many tasks live, how many have ended, and the site's revision."""
        return self._registry.live_count, self._registry.ended_count, self._changes.revision

    @property
    def hello(self) -> Hello | None:
        """What the keeper said of itself; None: nothing yet."""
        return None if self._ground is None else self._ground.hello

    # --- the verbs -----------------------------------------------------------------------------------------------

    async def launch(self, caller: Caller, task_id: str, spec: Spec, secrets: Mapping[str, str]) -> Launched:
        """Start a task once; return it, whether this call made it, and whether it was forgotten since.

        Raises:
            SpecInvalidError, TaskIdReusedError, PolicyDeniedError, TemplateChangedError, LimitReachedError,
            StorageFullError, DrainingError, RecoveringError.
        """
        ground = self._ready()
        rules.refuse_if_any(rules.bad_launch(task_id, spec, secrets))
        charge, created = await self._see_through(
            self._launch(ground, caller, TaskId(task_id or uuid7()), spec, secrets)
        )
        if isinstance(charge, Task):
            return Launched(charge, created=False, forgotten=True)
        if charge.task.state is State.STARTING:
            with contextlib.suppress(DrainingError):  # "launch elsewhere" would be wrong: the task is stored
                await self._changes.wait([charge.task.uid], _START_PATIENCE_SECONDS)
        return Launched(charge.task, created=created)

    async def stop(self, caller: Caller, task_id: str, plan: StopPlan) -> Task:
        """Begin to stop a task, or shorten the stop that is under way.

        Raises:
            SpecInvalidError, TaskNotFoundError, PolicyDeniedError, StorageFullError, RecoveringError.
        """
        self._ready()
        rules.refuse_if_any(rules.bad_plan(plan, "plan"))
        charge = self._registry.to_change(caller, task_id)
        whole = plan.or_else(charge.task.plan)
        if plan != StopPlan():  # the task's own was admitted with it
            self.policy.admit_stop(charge.task.spec.template, whole)
        stop = Stop.by_plan(whole, time.monotonic_ns(), cause=Cause.STOP_REQUESTED, by=caller.identity)
        self._store.note(records.verb(caller, "StopTask", charge.task))
        try:
            return await self._see_through(charge.stop(stop))
        except StoreError as error:
            raise StorageFullError(f"that {task_id!r} has no next attempt cannot be recorded: {error}") from error

    async def poll(
        self, caller: Caller, task_ids: Sequence[str], *, wait: timedelta, since_revision: int, renew_leases: bool
    ) -> tuple[list[Task], list[str], int]:
        """Return the tasks that changed after a revision, the ids that name none, and the present revision.

        Raises:
            SpecInvalidError, RecoveringError.
        """
        self._ready()
        if not 1 <= len(task_ids) <= self.limits.max_poll_tasks:
            raise SpecInvalidError([Violation("task_ids", f"give 1 to {self.limits.max_poll_tasks} ids")])
        return await follow.poll(
            self._registry,
            self._changes,
            caller,
            task_ids,
            wait=wait,
            since_revision=since_revision,
            renew_leases=renew_leases,
        )

    def watch(
        self, caller: Caller, which: Filter, *, since_revision: int, renew_leases: bool
    ) -> AsyncIterator[Task | Deletion | int]:
        """Yield each change after a revision, and revisions to resume from; ends only when the site does.

        Raises:
            RecoveringError.
        """
        self._ready()
        return follow.watch(
            self._registry, self._changes, caller, which, since_revision=since_revision, renew_leases=renew_leases
        )

    def list(self, caller: Caller, which: Filter, *, page_size: int, page_token: str) -> tuple[Sequence[Task], str]:
        """Return a page of tasks, oldest first, and the token of the next.

        Raises:
            SpecInvalidError, RecoveringError.
        """
        self._ready()
        return self._registry.page(caller, which, size=page_size, token=page_token)

    def read_logs(
        self,
        caller: Caller,
        task_id: str,
        output: Output,
        *,
        start: Start,
        attempt: int,
        until_ended: bool,
        later_attempts: bool,
    ) -> AsyncIterator[LogPart]:
        """Yield an output: of each attempt a header, chunks and checkpoints; an end.

        Args:
            caller: who wants to read.
            task_id: of which task.
            output: which one of its two.
            start: where to begin.
            attempt: which one, 0: the newest, and those that follow it.
            until_ended: go on while the task lives, or that attempt.
            later_attempts: and then those that follow it.

        Raises:
            SpecInvalidError, TaskNotFoundError, RecoveringError; LogOffsetExpiredError while reading.
        """
        self._ready()
        charge = self._registry.get(caller, task_id)
        newest = charge.task.attempt
        if not 0 <= attempt <= newest:
            raise SpecInvalidError([Violation("attempt", f"from 1 to {newest}, or 0 for the newest")])
        stream = LogStream(
            charge,
            self._changes,
            self._logs,
            output,
            until_ended=until_ended,
            is_deleted=lambda: self._registry.by_uid(charge.task.uid) is not charge,
        )
        return stream.parts(start, attempt or newest, later_attempts=later_attempts or not attempt)

    async def begin_input(self, caller: Caller, task_id: str) -> None:
        """Put on record that a caller is about to write to a task's input.

        Raises:
            TaskNotFoundError, TaskNotRunningError, InputClosedError, RecoveringError.
        """
        self._ready()
        await self._store.noted(records.verb(caller, "WriteInput", self._with_input(caller, task_id)))

    async def write_input(self, caller: Caller, task_id: str, part: InputPart) -> int:
        """Write to a task's input, wait until its pipe has taken it, and return how much it has taken in all.

        Raises:
            TaskNotFoundError, TaskNotRunningError, InputClosedError, InputOffsetSkippedError, RecoveringError.
        """
        ground = self._ready()
        task = self._with_input(caller, task_id)
        taken = await ground.link.write(task.run, part.offset, part.data, end=part.end)
        if taken.closed:
            raise InputClosedError(task_id, "it was ended, or the task closed it, or the keeper that held it died")
        if taken.offset < part.offset:
            raise InputOffsetSkippedError(task_id, part.offset, acknowledged=taken.offset)
        return taken.offset

    async def signal(self, caller: Caller, task_id: str, number: int, *, tree: bool) -> int:
        """Signal a task and return how many processes were reached.

        Raises:
            SpecInvalidError, TaskNotFoundError, TaskNotRunningError, RecoveringError.
        """
        ground = self._ready()
        rules.refuse_if_any(rules.bad_signal(number, "signal"))
        task = self._registry.to_change(caller, task_id).task
        reached = 0
        if not task.state.final:
            await self._store.noted(records.verb(caller, "SignalTask", task))
            # The keeper knows best: its answer is 0 when there is nobody to signal.
            reached = await ground.link.signal(task.run, number, tree=tree)
        if reached == 0:
            raise TaskNotRunningError(task_id, self._registry.get(caller, task_id).task.state.value)
        return reached

    async def delete(self, caller: Caller, task_id: str) -> None:
        """Forget an ended task and its logs.

        Raises:
            TaskNotFoundError, TaskNotEndedError, StorageFullError, RecoveringError.
        """
        self._ready()
        if self._registry.find(caller, task_id) is None and self._graveyard.has(
            caller.identity, TaskId(task_id), time.time_ns()
        ):
            await self._remove_tombstone(caller.identity, TaskId(task_id))
            return
        charge = self._registry.to_change(caller, task_id)
        if not charge.task.state.final:
            raise TaskNotEndedError(task_id, charge.task.state.value)
        self._store.note(records.verb(caller, "DeleteTask", charge.task))
        try:
            deleted = await self._see_through(self._delete(charge))
        except StoreError as error:
            raise StorageFullError(f"the deletion of {task_id!r} cannot be recorded: {error}") from error
        if not deleted:
            raise TaskNotFoundError(task_id)

    async def _remove_tombstone(self, owner: Owner, task_id: TaskId) -> None:
        try:
            await self._store.remove_tombstones(owner, [task_id])
        except StoreError as error:
            raise StorageFullError(f"the deletion of {task_id!r} cannot be recorded: {error}") from error
        self._graveyard.remove(owner, task_id)

    # --- below the verbs -----------------------------------------------------------------------------------------

    def _ready(self) -> Ground:
        if self._ground is None or not self._serving:
            raise RecoveringError("the agent has just started and takes stock of its tasks: try again in a moment")
        return self._ground

    def _with_input(self, caller: Caller, task_id: str) -> Task:
        task = self._registry.to_change(caller, task_id).task
        if not task.terms.open_input:
            raise InputClosedError(task_id, "it was launched without open_input")
        if task.state not in (State.RUNNING, State.STOPPING) or task.leader is not None:
            raise TaskNotRunningError(task_id, task.state.value)
        return task

    async def _launch(
        self, ground: Ground, caller: Caller, task_id: TaskId, spec: Spec, secrets: Mapping[str, str]
    ) -> tuple[Charge | Task, bool]:
        digest = spec.digest()
        while (existing := self._registry.claimed(caller.identity, task_id)) is not None:
            async with existing.lock:  # somebody may be about to store it
                if existing.task.revision:
                    if existing.task.digest != digest:
                        raise TaskIdReusedError(task_id, existing=existing.task.digest, given=digest)
                    self._store.note(records.launch(caller, existing.task, EXISTING))
                    return existing, False
        if self._graveyard.has(caller.identity, task_id, time.time_ns()):
            if (forgotten := await self._forgotten(caller, task_id, spec, digest)) is not None:
                return forgotten, False
            return await self._launch(ground, caller, task_id, spec, secrets)  # deleted in this moment
        if self._draining:
            raise DrainingError("the site is shutting down: launch elsewhere, or again when it is back")
        permit = self.policy.permit(caller, spec, secrets)
        registry = self._registry
        self.limits.admit(registry.live_count, registry.live_count_of(caller.identity), registry.live_bytes)
        if not self._rate.takes(caller.identity):
            raise LimitReachedError("max_launches_per_second", self._rate.per_second)
        task = Task(
            uid=Uid(uuid7()),
            task_id=task_id,
            owner=caller.identity,
            spec=spec,
            digest=digest,
            state=State.STARTING,
            times=Times(created=time.time_ns()),
            boot=ground.hello.boot,
            handle=LOCAL,
            permit=permit,
        )
        failpoint.reach("server.launch.before_store")
        charge = Charge(task, ground)
        async with charge.lock:
            self._registry.add(charge)  # from here on the name is taken
            try:
                await charge.commit(task, records.launch(caller, task))
            except StoreError as error:
                self._registry.remove(charge)
                raise StorageFullError(f"the task cannot be recorded: {error}") from error
        return charge, True

    async def _forgotten(self, caller: Caller, task_id: TaskId, spec: Spec, digest: str) -> Task | None:
        """Return the task of this name that was forgotten to make room; None: its tombstone is gone."""
        tombstone = await self._store.tombstone(caller.identity, task_id)
        if tombstone is None:
            self._graveyard.remove(caller.identity, task_id)
            return None
        if tombstone.digest != digest:
            raise TaskIdReusedError(task_id, existing=tombstone.digest, given=digest)
        task = tombstone.task(spec)
        self._store.note(records.launch(caller, task, EXISTING))
        return task

    async def _delete(self, charge: Charge, *, leave_tombstone: bool = False) -> bool:
        """Forget a task; return False if somebody else was faster."""
        async with charge.lock:
            task = charge.task
            if self._registry.by_uid(task.uid) is not charge:
                return False
            revision = self._next_revision()
            tombstone = Tombstone.of(task, time.time_ns()) if leave_tombstone else None
            await self._store.delete(task.uid, revision, tombstone)
            if revision < self._changes.revision:  # see Charge.commit
                revision = self._next_revision()
                await self._store.delete(task.uid, revision)
            failpoint.reach("server.delete.stored")
            self._registry.remove(charge)
            if tombstone is not None and (over := self._graveyard.add(tombstone.forgotten)):
                self._store.remove_tombstones(task.owner, over).add_done_callback(_told_in_the_log)
            self._changes.publish(Deletion(task.uid, task.owner, revision))
        await asyncio.to_thread(self._logs.remove, task.uid, task.attempt)
        return True

    def _ended(self, charge: Charge) -> None:
        self._registry.ended(charge)
        surplus = self._registry.ended_count - self.limits.max_ended_tasks
        bytes_left = self.limits.max_specs_bytes - self._registry.live_bytes - self._registry.ended_bytes
        if (surplus > 0 or bytes_left < 0) and self._ground is not None:
            for oldest in self._registry.to_forget(surplus, -bytes_left):
                self._begin(self._delete(oldest, leave_tombstone=True))

    def _next_revision(self) -> int:
        self._revision += 1
        return self._revision

    async def _see_through(self, work: Coroutine[None, None, _T]) -> _T:
        """Run to the end, whatever becomes of the caller."""
        return await asyncio.shield(self._begin(work))

    def _begin(self, work: Coroutine[None, None, _T]) -> asyncio.Task[_T]:
        under_way = asyncio.create_task(work)
        self._under_way.add(under_way)  # the loop itself holds tasks only weakly
        under_way.add_done_callback(self._under_way.discard)
        return under_way


def _told_in_the_log(done: asyncio.Future[None]) -> None:
    if not done.cancelled() and (error := done.exception()) is not None:
        log.warning("old tombstones stay for now", extra={"error": str(error)})
