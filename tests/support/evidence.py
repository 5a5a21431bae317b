"""Tasks that leave evidence: each attempt and each cleanup appends a line to a file, and waits at a gate of the test's.

So a test knows what really ran, whatever the agent says.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from farspawn.v1 import task_pb2
from support.crash import MARK
from support.tasks import shell, span

_SAY = 'echo "$$ $FARSPAWN_TASK_UID $FARSPAWN_ATTEMPT" >>'
SAYS_SO = f"{_SAY} started; "
_WAIT = 'read _ <"gate.$FARSPAWN_TASK_ID"; '
_OUTLIVED = "setsid sleep 1000 & "

ENDS_AT_ONCE = SAYS_SO + "exit 7"
WAITS = SAYS_SO + _WAIT + "exit 5"
WAITS_BESIDE_A_CHILD = _OUTLIVED + SAYS_SO + _WAIT + "exit 5"
LEAVES_A_CHILD_WITH_3 = WAITS_BESIDE_A_CHILD.replace("exit 5", "exit 3")
LEAVES_A_STUBBORN_CHILD_WITH_3 = "trap '' TERM; " + LEAVES_A_CHILD_WITH_3
ENDS_WITH_7_ON_SIGTERM = "trap 'exit 7' TERM; " + SAYS_SO + _WAIT + "exit 5"
REFUSES_SIGTERM = f"trap '' TERM; {_OUTLIVED}{SAYS_SO}exec sleep 1000"
FAILS_ONCE = SAYS_SO + _WAIT + "[ $FARSPAWN_ATTEMPT -gt 1 ] || exit 3; exit 0"

CLEANS_UP_WITH_6 = f'{_SAY} cleaned; read _ <"gate.$FARSPAWN_TASK_ID.cleanup"; exit 6'


@dataclass(frozen=True, slots=True, order=True)
class Line:
    """That an attempt ran."""

    uid: str
    attempt: int
    pid: int


class Scene:
    """The directory in which the tasks of a test leave evidence and find their gates."""

    def __init__(self, agent_directory: Path) -> None:
        self._mark = str(agent_directory)
        self._path = agent_directory / "scene"
        self._path.mkdir()
        self._gates: dict[str, int] = {}

    def spec(
        self,
        argv: Sequence[str],
        *,
        cleanup: str = "",
        restart: task_pb2.RestartPolicy | None = None,
        stop: task_pb2.StopPlan | None = None,
    ) -> task_pb2.TaskSpec:
        """Return a spec whose processes are known for this test's."""
        return task_pb2.TaskSpec(
            argv=argv,
            env={MARK: self._mark},
            working_directory=str(self._path),
            cleanup=task_pb2.Cleanup(argv=shell(cleanup), timeout=span(60)) if cleanup else None,
            restart=restart,
            stop=stop,
        )

    def add_gate(self, name: str) -> None:
        """Make a gate, closed."""
        path = self._path / f"gate.{name}"
        os.mkfifo(path)
        # Open for both: so a task's open never waits, only its read.
        self._gates[name] = os.open(path, os.O_RDWR | os.O_NONBLOCK)

    def let_one_pass(self, name: str) -> None:
        """Let whoever waits at a gate go on, or whoever comes next."""
        os.write(self._gates[name], b"\n")

    def let_all_pass(self, name: str) -> None:
        """Let thousands go on."""
        os.write(self._gates[name], b"\n" * 4096)

    def open_gates(self) -> None:
        """Let everybody pass who comes."""
        for gate in self._gates.values():
            os.write(gate, b"\n" * 50)

    def started(self) -> list[Line]:
        """Return the evidence of every attempt."""
        return self._lines("started")

    def cleaned(self) -> list[Line]:
        """Return the evidence of every cleanup."""
        return self._lines("cleaned")

    def close(self) -> None:
        """Let go of the gates."""
        for gate in self._gates.values():
            os.close(gate)

    def _lines(self, name: str) -> list[Line]:
        found = []
        with suppress(FileNotFoundError):
            for line in (self._path / name).read_text(encoding="ascii").splitlines():
                pid, uid, attempt = line.split()
                found.append(Line(uid, int(attempt), int(pid)))
        return sorted(found)
