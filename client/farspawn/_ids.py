"""Task ids that no two callers make twice."""

import secrets
import time
import uuid


def new_task_id() -> str:
    """A UUIDv7 (RFC 9562, 5.7): ordered by time to the millisecond, random otherwise."""
    # The standard library has uuid7 from Python 3.14 only.
    milliseconds = time.time_ns() // 1_000_000
    value = (milliseconds & ((1 << 48) - 1)) << 80
    value |= 0x7 << 76  # version
    value |= secrets.randbits(12) << 64
    value |= 0b10 << 62  # variant
    value |= secrets.randbits(62)
    return str(uuid.UUID(int=value))
