"""One task as the keeper knows it: how far its process has come, and its tree."""

from __future__ import annotations

import signal
import time
from dataclasses import dataclass
from typing import Self

from farspawn_core import exits
from farspawn_core.cgroup import Cgroup
from farspawn_core.tree import Tree
from farspawn_server.keeper.handover import Handed
from farspawn_server.keeper.messages import Ended, Failure, Holding, Spent

COOKIE = "FARSPAWN_TASK_UID"
"""The environment variable that marks a task's processes. A uid here is TASK_UID/ATTEMPT, or TASK_UID/ATTEMPT/cleanup:
one process that a task waits for; the cookie's value is the part that they share."""


def task_of(uid: str) -> str:
    """Return the value of the cookie."""
    return uid.partition("/")[0]


@dataclass(slots=True)
class Entry:
    """Belongs to the keeper's loop; nobody else reads or writes it."""

    uid: str
    cgroup: Cgroup | None = None
    tree: Tree | None = None  # None: not started yet, or never
    start_time: int = 0
    started_at: int = 0
    failure: Failure | None = None
    ended: Ended | None = None
    left: int = 0
    forgotten: bool = False
    shut_down: bool = False
    struck: bool = False  # somebody had us send it SIGKILL
    stranger: bool = False  # an earlier keeper's: not our child
    guessed: bool = False  # a stranger's leader that may be another of its processes: its exit is not the task's

    @classmethod
    def of(cls, handed: Handed) -> Self:
        """Return what the last image of this process knew, without the tree."""
        holding = handed.holding
        entry = cls(
            uid=holding.uid,
            start_time=holding.start_time,
            started_at=holding.started_at,
            failure=holding.failure,
            ended=holding.ended,
            left=holding.left,
            stranger=handed.stranger,
            guessed=holding.guessed,
        )
        entry.take_over(handed)
        return entry

    def take_over(self, handed: Handed) -> None:
        """Add what no new look at the machine can tell."""
        self.forgotten, self.struck = handed.forgotten, handed.struck

    def handed(
        self, *, killing: bool, input_end: tuple[int, int] | None, input_length: int | None, pidfd: int | None
    ) -> Handed:
        """Return what the next image is to know."""
        return Handed(
            holding=self.holding(),
            killing=killing,
            forgotten=self.forgotten,
            stranger=self.stranger,
            input=input_end,
            input_length=input_length,
            pidfd=pidfd,
            struck=self.struck,
        )

    @property
    def over(self) -> bool:
        """Nothing of it lives, and nothing will."""
        return self.failure is not None or (self.ended is not None and self.left == 0)

    def note_end(self, how: exits.Exit | None) -> None:
        """Note that the leader has ended; None: nobody can know how."""
        self.ended = Ended(at=time.time_ns())
        if how is not None:
            spent = None
            if (usage := how.usage) is not None:
                spent = Spent(usage.user_seconds, usage.system_seconds, usage.max_resident_bytes)
            self.ended = Ended(self.ended.at, how.code, how.signal, how.core_dumped, spent, self._out_of_memory(how))

    def _out_of_memory(self, how: exits.Exit) -> bool | None:
        """Return whether the kernel ended the leader for want of memory; None: it does not tell."""
        if how.signal != signal.SIGKILL or self.cgroup is None:
            return None
        somebody = self.cgroup.out_of_memory()
        # Of a task that we have sent SIGKILL it may have ended another process before.
        return None if somebody and self.struck else somebody

    def holding(self) -> Holding:
        """Return what the server is told."""
        return Holding(
            uid=self.uid,
            pid=0 if self.tree is None else self.tree.leader,
            start_time=self.start_time,
            started_at=self.started_at,
            failure=self.failure,
            ended=self.ended,
            left=self.left,
            shut_down=self.shut_down,
            guessed=self.guessed,
        )
