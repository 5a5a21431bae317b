"""Which refused calls go on record, and what is said of them.

Every refusal of a call that would have changed something, whatever the reason; of calls that only read, those that the
site's policy denies.
"""

from __future__ import annotations

import time
from typing import Protocol, cast

from google.protobuf.message import Message

from farspawn.v1 import launcher_pb2 as pb
from farspawn.v1 import task_pb2
from farspawn_server.audit import Record, argv_digest
from farspawn_server.task.errors import PolicyDeniedError, Refusal, UnauthenticatedError
from farspawn_server.task.rules import MAX_COMMAND_STRINGS

READS = frozenset({"GetSite", "Poll", "WatchTasks", "ListTasks", "ReadLogs"})
"""The methods that change nothing; whatever else there is goes on record."""


class _OfTask(Protocol):
    task_id: str


def of_refusal(rpc: str, identity: str, peer: str, request: Message | None, error: Exception) -> Record | None:
    """Return what goes on record of a call that ended in this error; None: nothing does.

    Args:
        rpc: the method.
        identity: who called; empty: nobody knows.
        peer: from where.
        request: its message; None: it had not come, or there are many.
        error: a refusal, or an error of ours.
    """
    if rpc in READS and not isinstance(error, (PolicyDeniedError, UnauthenticatedError)):
        return None
    refusal = error if isinstance(error, Refusal) else Refusal("")
    task_id = refusal.metadata.get("task_id", "")
    if request is not None and "task_id" in request.DESCRIPTOR.fields_by_name:
        task_id = cast("_OfTask", request).task_id
    spec = _spec(request)
    argv = spec.argv
    return Record(
        at=time.time_ns(),
        identity=identity,
        peer=peer,
        rpc=rpc,
        outcome=refusal.reason if isinstance(error, Refusal) else "INTERNAL",
        task_id=task_id,
        template=spec.template,
        template_revision=spec.template_revision,
        program=argv[0] if argv else "",
        argv_sha256=argv_digest(argv) if argv else "",
        rule=refusal.metadata.get("rule", "") or refusal.metadata.get("limit", ""),
    )


def _spec(request: Message | None) -> task_pb2.TaskSpec:
    """Return what was to be launched; an empty one if nothing was, or if it has too many strings for any command."""
    if not isinstance(request, pb.LaunchTaskRequest) or len(request.spec.argv) > MAX_COMMAND_STRINGS:
        return task_pb2.TaskSpec()
    return request.spec
