"""A task as three JSON texts: its spec, what the site made of it, and everything else.

The spec never changes; what the site made of it loses its secrets when the task has ended.

The names of the fields of `Task` are the format: renaming one is a migration. An unknown field is ignored and a missing
one takes its default, so that the neighbouring versions read each other's rows.
"""

from __future__ import annotations

import dataclasses

import msgspec

from farspawn_server.task.life import Task
from farspawn_server.task.spec import Permit, Spec

_ELSEWHERE = ("spec", "permit")
_OF_THE_MOMENT = ("unkillable",)
_RECORD_FIELDS = tuple(
    each.name for each in dataclasses.fields(Task) if each.name not in (*_ELSEWHERE, *_OF_THE_MOMENT)
)


def encode_spec(spec: Spec) -> str:
    """Return the text of a spec."""
    return msgspec.json.encode(spec).decode()


def encode_permit(permit: Permit | None) -> str | None:
    """Return the text of what the site made of a spec."""
    return None if permit is None else msgspec.json.encode(permit).decode()


def encode_record(task: Task) -> str:
    """Return the text of everything but the spec."""
    return msgspec.json.encode({name: getattr(task, name) for name in _RECORD_FIELDS}).decode()


def decode(spec: str | bytes, permit: str | bytes | None, record: str | bytes) -> Task:
    """Return the task of these texts.

    Raises:
        msgspec.ValidationError: this is not what `encode_…` writes.
    """
    fields = msgspec.json.decode(record)
    fields["permit"] = None if permit is None else msgspec.json.decode(permit)
    return msgspec.convert({**fields, "spec": msgspec.json.decode(spec)}, Task)


def decode_record(spec: Spec, record: str) -> Task:
    """Return the task of a spec and what `encode_record` wrote beside it, without what the site made of the spec."""
    return dataclasses.replace(decode('{"argv": []}', None, record), spec=spec)
