"""A task as two JSON texts: its spec, which never changes, and everything else.

The names of the fields of `Task` are the format: renaming one is a migration. An unknown field is ignored and a missing
one takes its default, so that the neighbouring versions read each other's rows.
"""

from __future__ import annotations

import dataclasses

import msgspec

from farspawn_server.task.life import Task
from farspawn_server.task.spec import Spec

_RECORD_FIELDS = tuple(each.name for each in dataclasses.fields(Task) if each.name != "spec")


def encode_spec(spec: Spec) -> str:
    """Return the text of a spec."""
    return msgspec.json.encode(spec).decode()


def encode_record(task: Task) -> str:
    """Return the text of everything but the spec."""
    return msgspec.json.encode({name: getattr(task, name) for name in _RECORD_FIELDS}).decode()


def decode(spec: str, record: str) -> Task:
    """Return the task of two texts.

    Raises:
        msgspec.ValidationError: this is not what `encode_…` writes.
    """
    fields = msgspec.json.decode(record)
    return msgspec.convert({**fields, "spec": msgspec.json.decode(spec)}, Task)
