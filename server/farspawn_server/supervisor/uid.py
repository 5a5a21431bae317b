"""UUIDv7 (RFC 9562): ids that are unique for ever and sort by the time they were made."""

from __future__ import annotations

import secrets
import threading
import time
import uuid

_lock = threading.Lock()
_last = 0  # guarded by _lock: milliseconds << 12 | counter


def continue_after(uid: str) -> None:
    """Make every new id greater than this one: the wall clock may have been set back since it was made."""
    global _last
    number = uuid.UUID(uid).int
    with _lock:
        _last = max(_last, number >> 80 << 12 | number >> 64 & 0xFFF)


def uuid7() -> str:
    """Return a new id, greater than every one that this process made before."""
    global _last
    with _lock:
        # RFC 9562, 6.2, method 1: the 12 bits after the time count within a millisecond, and run ahead if they must.
        _last = max(_last + 1, time.time_ns() // 1_000_000 << 12)
        moment, counter = _last >> 12, _last & 0xFFF
    number = moment << 80 | 0x7 << 76 | counter << 64 | 0b10 << 62 | secrets.randbits(62)
    return str(uuid.UUID(int=number))
