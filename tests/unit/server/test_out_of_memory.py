"""Whether a task ended for want of memory, as its cgroup tells the keeper: the kernel's count, and who else struck."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import pytest
from support.apart import Apart
from support.waiting import until

from farspawn_core import cgroup
from farspawn_server.keeper.messages import Holding, Spawn
from farspawn_server.keeper.pidfile import Pidfile
from farspawn_server.keeper.processes import Processes

UID = "uid-1/1"


def end(directory: str, counted: str, ended_by: str) -> bool | None:
    """Start a task, have `counted` in its memory.events, end it, and return what the keeper says of its memory."""
    cgroup.home = lambda: Path(directory)  # what the kernel fills elsewhere
    told: list[Holding] = []
    happened = threading.Event()
    processes = Processes(Pidfile("/dev/null"), changed=told.append, taken=lambda _: None, wake=happened.set)

    def collected() -> list[Holding]:
        processes.collect()
        return told

    processes.start(Spawn(UID, ["sleep", "600"], {}, "/", "/dev/null", "/dev/null"))
    until(lambda: any(holding.pid for holding in collected()))
    if counted:
        (Path(directory) / UID.replace("/", ".") / "memory.events").write_text(counted)

    if ended_by == "stop":
        processes.kill(UID)
    elif ended_by == "caller":
        processes.signal(UID, signal.SIGKILL, tree=True)
    else:
        os.kill(told[-1].pid, int(ended_by))

    until(lambda: collected()[-1].ended)
    assert told[-1].ended is not None
    return told[-1].ended.out_of_memory


@pytest.mark.parametrize(
    ("counted", "ended_by", "said"),
    [
        ("oom 1\noom_kill 1\n", "9", True),
        ("oom 0\noom_kill 0\n", "9", False),
        ("", "9", None),  # no memory controller
        ("oom 1\noom_kill 1\n", "15", None),  # a child's, perhaps
        ("oom 1\noom_kill 1\n", "stop", None),
        ("oom 1\noom_kill 1\n", "caller", None),
        ("oom 0\noom_kill 0\n", "stop", False),
    ],
)
def test_a_task_ended_for_want_of_memory_only_where_nobody_else_can_have_ended_it(
    tmp_path: Path, counted: str, ended_by: str, *, said: bool | None
) -> None:
    assert Apart().run(end, str(tmp_path), counted, ended_by) is said
