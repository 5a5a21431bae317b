"""Fields that this version does not know, in a request that must not be half understood.

Whoever sends one wants what it says: a limit of a later version that were dropped in silence would be no limit.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import TypeVar

from google.protobuf.message import Message
from google.protobuf.unknown_fields import UnknownFieldSet

from farspawn_server.task.errors import SpecInvalidError, Violation

_TOLD = 10
_MOST_LISTED_BYTES = 16 << 10  # to list them, protobuf's Python makes an object of each, and everybody waits

_M = TypeVar("_M", bound=Message)


def refuse_unknown_fields(message: Message, path: str) -> None:
    """Raise SpecInvalidError if there are any in a message, or in those within it. `path`: of this one; empty: none."""
    size = message.ByteSize() - _known(message).ByteSize()
    if size == 0:
        return
    found = itertools.islice(_unknown(message, path), _TOLD) if size <= _MOST_LISTED_BYTES else [path]
    raise SpecInvalidError([Violation(field, "unknown to this version of the site: leave it out") for field in found])


def _known(message: _M) -> _M:
    known = type(message)()
    known.CopyFrom(message)
    known.DiscardUnknownFields()
    return known


def _unknown(message: Message, path: str) -> Iterator[str]:
    """Yield the path of each unknown field, its number last."""
    before = f"{path}." if path else ""
    unknown = UnknownFieldSet(message)
    for at in range(len(unknown)):
        yield f"{before}{unknown[at].field_number}"
    for known, value in message.ListFields():
        if isinstance(value, Message):
            yield from _unknown(value, f"{before}{known.name}")
