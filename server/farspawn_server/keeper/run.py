"""One run as the keeper knows it: what its shim said last, and what is still to be said to that shim."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass, field

from farspawn_core.cgroup import Cgroup
from farspawn_core.shim import Report, Stage
from farspawn_server.keeper.messages import Ended, Failure, Holding, Outputs, Spawn, Spent
from farspawn_server.keeper.runfile import NOBODY, Head


@dataclass(slots=True, eq=False)
class Run:
    """Belongs to the table; only its methods and the table change it.

    Attributes:
        order: by which it is to be started, if nobody was yet.
        pid: of the shim; 0: not known, or reaped.
        child: the shim is our child: the kernel tells us of its end.
        link: the connection to the shim; None: it has not dialled, or is dead.
        report: what the shim said last.
        failure: why there never was a shim.
        group: the cgroup of the run.
        head: what the shim had written down, if it is dead.
        dead: the shim is.
        falling: it is dead, and what it left is being ended.
        due: what the shim is to be told again until the socket takes it, by kind.
        writing: the number and the offset of the newest write.
        puzzling: its file could not be looked at, which was noted.
    """

    uid: str
    order: Spawn | None = None
    pid: int = 0
    child: bool = False
    link: socket.socket | None = None
    report: Report | None = None
    failure: Failure | None = None
    group: Cgroup | None = None
    head: Head = NOBODY
    dead: bool = False
    falling: bool = False
    killing: bool = False
    forgotten: bool = False
    shut_down: bool = False
    writing: tuple[int, int] = (0, 0)
    puzzling: bool = False
    out_of_memory: str = "unknown"
    due: dict[str, bytes] = field(default_factory=dict)

    @property
    def alive(self) -> bool:
        """Something of it lives, or may."""
        if self.dead or self.failure is not None:
            return self.falling
        return self.report is None or self.report.alive

    @property
    def awaited(self) -> bool:
        """We know nothing of it yet, but that it may be there."""
        return self.report is None and not self.child and not self.dead and self.failure is None

    @property
    def over(self) -> bool:
        """There is no shim of it, and nothing lives."""
        return (self.dead or self.failure is not None) and not self.falling

    @property
    def ended(self) -> bool:
        """The leader has ended, and we know how."""
        return self.report is not None and self.report.stage is Stage.ENDED

    @property
    def lost(self) -> bool:
        """The shim was killed before it could say how the leader ended."""
        settled = self.failure is not None or (self.report is not None and self.report.stage >= Stage.FAILED)
        return self.dead and not settled

    def holding(self) -> Holding:
        """Return what the server is told."""
        report = self.report
        if report is None:
            executed = self.head.started_at != 0
            return Holding(
                self.uid,
                pid=self.head.leader if executed else 0,
                started_at=self.head.started_at,
                started_monotonic=self.head.started_monotonic if executed else 0,
                failure=self.failure,
                alive=self.alive,
                lost=self.lost,
                shut_down=self.shut_down,
            )
        failed = report.stage is Stage.FAILED
        return Holding(
            self.uid,
            pid=report.pid,
            started_at=0 if failed else report.started_at,
            started_monotonic=0 if failed else report.started_monotonic,
            failure=Failure(report.error, report.step.value, report.path) if failed else None,
            ended=self._end(report) if report.stage is Stage.ENDED else None,
            alive=self.alive,
            lost=self.lost,
            shut_down=self.shut_down,
            outputs=Outputs([*report.written], [*report.lost], report.output_error),
        )

    def _end(self, report: Report) -> Ended:
        killed = os.WIFSIGNALED(report.status)
        return Ended(
            at=report.ended_at,
            code=None if killed else os.WEXITSTATUS(report.status),
            signal=os.WTERMSIG(report.status) if killed else None,
            core_dumped=killed and os.WCOREDUMP(report.status),
            spent=Spent(report.user_us / 1e6, report.system_us / 1e6, report.max_resident_bytes),
            out_of_memory=self.out_of_memory,
        )
