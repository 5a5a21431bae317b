"""One task as its two handles see it, the blocking one and the one of asyncio."""

from contextlib import aclosing, suppress
from datetime import timedelta

from farspawn import _values as values
from farspawn import _verbs as verbs
from farspawn._errors import LaunchFailedError, NotReadyError, TaskLostError, TaskNotRunningError
from farspawn._follow import LONG_POLL, as_ended, no_such_task, until
from farspawn._link import Link


class Handle:
    """What was last heard of one task."""

    def __init__(self, link: Link, task_id: str, launched: verbs.Launched | None = None) -> None:
        self._task_id = task_id
        self._link_to_site = link
        self._created = launched is not None and launched.created
        self._status = launched.task.status if launched else None
        spec = launched.task.spec if launched else None
        self._args = spec.argv if spec else ()
        # A template may have a check of its own, which nobody is told.
        self._never_ready = spec is not None and spec.readiness is None and not spec.template
        # Whoever launched the task and waits for it wants it.
        self._renew_every = _renewal(spec) if spec else None

    def __repr__(self) -> str:
        state = self._status.state.name if self._status else "not asked yet"
        return f"<{type(self).__name__} {self._task_id}: {state}>"

    @property
    def task_id(self) -> str:
        """The task's id."""
        return self._task_id

    @property
    def args(self) -> tuple[str, ...]:
        """What was launched; empty for a template, and for a handle made by `process`."""
        return self._args

    @property
    def created(self) -> bool:
        """Whether the launch started the task; False: it existed already."""
        return self._created

    @property
    def status(self) -> values.TaskStatus | None:
        """The task as last heard of; None: not asked yet."""
        return self._status

    @property
    def pid(self) -> int | None:
        """The leader's process id on the site, as last heard of; None: none yet."""
        return self._status.pid if self._status else None

    @property
    def ready(self) -> bool:
        """Whether the task's readiness check has held, as last heard of."""
        return self._status is not None and self._status.ready

    @property
    def outcome(self) -> values.Outcome | None:
        """How the task ended; None: it has not, as last heard of."""
        return self._status.outcome if self._status else None

    @property
    def returncode(self) -> int | None:
        """The exit code, or minus the signal that ended the leader, as last heard of.

        None while the task lives, and also for ever if it FAILED or is LOST: a
        code is never invented. `poll` and `wait` raise in these cases.
        """
        return self.outcome.returncode if self.outcome else None

    async def _poll(self) -> int | None:
        if self._status is not None and self._status.ended:
            return self._ending()  # final states never change, and a deleted task has no other
        renew = self._renew_every is not None
        call = verbs.poll([self._task_id], wait=None, since_revision=0, renew_leases=renew)
        answer = await self._link_to_site.call(call)
        if answer.unknown_task_ids:
            raise no_such_task(self._task_id)
        for status in answer.statuses:
            self._saw(status)
        return self._ending()

    async def _wait(self, limit: timedelta | None) -> int:
        if self._status is None or not self._status.ended:
            ends = as_ended(self._link_to_site, [self._task_id], limit, self._renew_every)
            async with aclosing(ends):
                async for status in ends:
                    self._saw(status)
        returncode = self._ending()
        if returncode is None:
            raise RuntimeError("a wait without a timeout ended before the task")
        return returncode

    async def _wait_ready(self, limit: timedelta | None) -> None:
        if self._never_ready:
            raise ValueError(f"task {self._task_id} was launched without a readiness check")
        self._saw(
            await until(
                self._link_to_site,
                self._task_id,
                lambda status: status.ready or status.ended,
                limit=limit,
                renew_every=self._renew_every,
                otherwise="not ready yet",
            )
        )
        self._ending()  # raises if it has none
        if self._status is not None and self._status.ended:
            raise NotReadyError(self._status)

    async def _stop(self, plan: values.StopPlan | None) -> values.TaskStatus:
        return self._saw(await self._link_to_site.call(verbs.stop(self._task_id, plan)))

    async def _send_signal(self, number: int) -> None:
        # If it has ended there is nothing left to do, as with Popen.
        with suppress(TaskNotRunningError):
            await self._link_to_site.call(verbs.signal(self._task_id, number, values.SignalScope.LEADER))

    def _saw(self, status: values.TaskStatus) -> values.TaskStatus:
        known = self._status
        if known is not None and known.uid != status.uid:
            # The task was deleted and its id used again: this handle's is gone.
            raise no_such_task(self._task_id)
        if known is None or status.revision >= known.revision:
            self._status = status
        return status

    def _ending(self) -> int | None:
        status = self._status
        if status is None or not status.ended:
            return None
        if status.state is values.TaskState.FAILED:
            raise LaunchFailedError(status)
        returncode = self.returncode
        # Also an ending that only a newer client knows of: None would read as alive.
        if status.state is values.TaskState.LOST or returncode is None:
            raise TaskLostError(status)
        return returncode


def _renewal(spec: values.TaskSpec) -> timedelta:
    # Two renewals may get lost before the lease is over. A task that asked for
    # none may have one all the same, of a length that only the site knows: that
    # renews it by itself for as long as a poll waits.
    return spec.lease.ttl / 3 if spec.lease else LONG_POLL
