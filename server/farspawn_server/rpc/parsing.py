"""From the bytes of a request to its message: not before its size is known to be that of a reasonable one.

What a message costs grows with its bytes, to parse and to look through, and everybody waits meanwhile: so each method
has a bound of its own, well above the largest request that would be granted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from google.protobuf.message import DecodeError, Message

from farspawn_server.logs import CHUNK_BYTES
from farspawn_server.task.errors import SpecInvalidError, Violation

_Request = TypeVar("_Request", bound=Message)

_SMALL = 16 << 10  # some ids, spans and numbers
_FILTER = 128 << 10  # 64 labels with 63 characters and 256, of up to four bytes each

MOST_BYTES: Mapping[str, int] = {
    "LaunchTask": 2 << 20,  # what a command may have, and as much again for what stands around it
    "StopTask": _SMALL,
    "Poll": 2 << 20,  # 10,000 ids of 128 characters take 1.3 million
    "WatchTasks": _FILTER,
    "ListTasks": _FILTER,
    "ReadLogs": _SMALL,
    "WriteInput": CHUNK_BYTES + _SMALL,
    "SignalTask": _SMALL,
    "DeleteTask": _SMALL,
    "GetSite": _SMALL,
    "Check": _SMALL,
    "Watch": _SMALL,
}
"""Of one request of each method, those of the health service included."""


def parser(method: str, request_type: type[_Request]) -> Callable[[bytes], _Request]:
    """Return what makes a message of the bytes of a request.

    It raises SpecInvalidError: they are too many, or no such message.
    """
    most = MOST_BYTES[method]

    def parse(data: bytes) -> _Request:
        if len(data) > most:
            raise SpecInvalidError([Violation("", f"{len(data)} bytes, a request of {method} has at most {most}")])
        try:
            return request_type.FromString(data)
        except DecodeError as error:
            raise SpecInvalidError([Violation("", str(error))]) from error

    return parse
