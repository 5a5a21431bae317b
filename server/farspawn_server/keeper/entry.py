"""One task as the keeper knows it: how far its process has come, and its tree."""

from __future__ import annotations

from dataclasses import dataclass

from farspawn_core.cgroup import Cgroup
from farspawn_core.tree import Tree
from farspawn_server.keeper.messages import Ended, Failure, Holding

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

    @property
    def over(self) -> bool:
        """Nothing of it lives, and nothing will."""
        return self.failure is not None or (self.ended is not None and self.left == 0)

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
        )
