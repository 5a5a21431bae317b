"""Tasks whose agent was killed, and a database to be edited before the next agent starts: another boot, another pid."""

from __future__ import annotations

import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from farspawn.v1 import launcher_pb2 as pb
from farspawn.v1 import task_pb2
from farspawn_core import proc
from support.agent import Agent, short_directory
from support.crash import marked
from support.evidence import Scene
from support.waiting import until


@contextmanager
def scene() -> Iterator[tuple[Path, Scene]]:
    """Make a directory for agents and the scene of their tasks; whatever of these still runs is ended with it."""
    with short_directory() as directory:
        made = Scene(directory)
        try:
            yield directory, made
        finally:
            made.close()
            end_marked(directory)


def end_marked(directory: Path) -> None:
    """Kill what carries a directory's mark, and wait for its end."""
    for process in marked(directory):
        proc.send(process, signal.SIGKILL)
    until(lambda: not marked(directory))


def launch_and_leave(
    directory: Path, specs: dict[str, task_pb2.TaskSpec], *, stop: task_pb2.StopPlan | None = None
) -> dict[str, task_pb2.TaskStatus]:
    """Launch tasks, stop them if a plan is given, and kill the agent: keeper and server. The tasks run on."""
    agent = Agent(directory)
    stub = agent.stub
    launched = {
        task_id: stub.LaunchTask(pb.LaunchTaskRequest(task_id=task_id, spec=spec)).task.status
        for task_id, spec in specs.items()
    }
    if stop is not None:
        for task_id in specs:
            stub.StopTask(pb.StopTaskRequest(task_id=task_id, plan=stop))
    agent.kill_keeper()
    agent.channel.close()
    return launched


def edit(directory: Path, task_id: str, **fields: str | int) -> None:
    """Set fields of a task's record while no agent runs. A name is a path in the record, with __ for the dot."""
    with closing(sqlite3.connect(directory / "state" / "farspawn.db")) as database, database:
        for name, value in fields.items():
            path = "$." + name.replace("__", ".")
            changed = database.execute(
                "UPDATE task SET record = json_set(record, ?, ?) WHERE task_id = ?", (path, value, task_id)
            )
            assert changed.rowcount == 1
