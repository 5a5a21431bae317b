"""What goes on record of a verb that is about to be done, or that found it done."""

from __future__ import annotations

import time

from farspawn_server.audit import ACCEPTED, Record, argv_digest
from farspawn_server.policy import Caller
from farspawn_server.task.life import Task


def launch(caller: Caller, task: Task, outcome: str = ACCEPTED) -> Record:
    """Return the record of a LaunchTask that comes to this task."""
    argv = task.terms.argv
    return Record(
        at=time.time_ns(),
        identity=caller.identity,
        peer=caller.peer,
        rpc="LaunchTask",
        outcome=outcome,
        task_id=task.task_id,
        uid=task.uid,
        template=task.spec.template,
        template_revision="" if task.permit is None else task.permit.template_revision,
        program=argv[0],
        argv_sha256=argv_digest(argv),
    )


def verb(caller: Caller, rpc: str, task: Task) -> Record:
    """Return the record of a call that is about to do something to a task."""
    return Record(
        at=time.time_ns(),
        identity=caller.identity,
        peer=caller.peer,
        rpc=rpc,
        outcome=ACCEPTED,
        task_id=task.task_id,
        uid=task.uid,
    )
