"""Signals that this process gets, sent on to a task."""

import asyncio
import signal
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from farspawn._async_client import AsyncClient
from farspawn._cli.failures import warn
from farspawn._cli.parsing import NUMBER_OF
from farspawn._errors import FarspawnError, TaskNotRunningError
from farspawn._values import SignalScope, StopPlan

# A terminal sends these to every process of the foreground group, so the task's
# whole tree gets them: a shell that waits for its child would ignore a SIGINT
# of its own. The others come from somebody's kill, which names one process.
_SCOPE_OF: Mapping[signal.Signals, SignalScope] = {
    signal.SIGHUP: SignalScope.TREE,
    signal.SIGINT: SignalScope.TREE,
    signal.SIGQUIT: SignalScope.TREE,
    signal.SIGTERM: SignalScope.LEADER,
    signal.SIGUSR1: SignalScope.LEADER,
    signal.SIGUSR2: SignalScope.LEADER,
}

TWICE_SECONDS = 2.0


class Forwarding:
    """While it is entered, signals go to the task and do nothing here.

    Two SIGINT within two seconds kill the task; the one after that sets
    `left_alone`, for when the site does not answer.
    """

    def __init__(self, site: AsyncClient, task_id: str) -> None:
        self._site = site
        self._task_id = task_id
        self._loop = asyncio.get_running_loop()
        self._waiting: asyncio.Queue[signal.Signals] = asyncio.Queue()
        self._last_interrupt: float | None = None
        self._killing = False
        self.left_alone = asyncio.Event()

    def __enter__(self) -> Self:
        for number in _SCOPE_OF:
            self._loop.add_signal_handler(number, self.take, number)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number in _SCOPE_OF:
            self._loop.remove_signal_handler(number)

    def take(self, number: signal.Signals) -> None:
        """One signal has come; `deliver` sends it on."""
        if number is signal.SIGINT:
            if self._killing:
                self.left_alone.set()
                return
            now, before = time.monotonic(), self._last_interrupt
            self._last_interrupt = now
            self._killing = before is not None and now - before < TWICE_SECONDS
        self._waiting.put_nowait(signal.SIGKILL if self._killing else number)

    async def deliver(self) -> None:
        """Sends on what comes, in order, for ever."""
        while True:
            number = await self._waiting.get()
            try:
                await self._send(number)
            except TaskNotRunningError:
                pass  # it has ended, and its last output is on the way
            except FarspawnError as error:
                warn(f"{number.name} did not reach task {self._task_id}: {error}")

    async def _send(self, number: signal.Signals) -> None:
        if number is signal.SIGKILL:
            # Not as a signal: a stop goes on until nothing of the task is left.
            await self._site.stop(self._task_id, StopPlan.at_once())
        else:
            # By its name: the site counts as Linux does, this machine may not.
            linux = NUMBER_OF[number.name.removeprefix("SIG")]
            await self._site.signal(self._task_id, linux, _SCOPE_OF[number])
