"""An enumeration that a newer site may extend without breaking this client."""

from enum import IntEnum
from typing import Self


class WireEnum(IntEnum):
    """Members have the numbers of the contract; a number unknown to this client is UNSPECIFIED."""

    @classmethod
    def _missing_(cls, value: object) -> Self | None:
        # Only numbers come from a site; anything else is the caller's mistake.
        return cls(0) if isinstance(value, int) and value != 0 else None
