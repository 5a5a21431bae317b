"""Worker: attack an agent until standard input ends, and say when it has begun.

`PYTHONPATH=tests python -m benchmarks._attack ADDRESS ATTACK [TASK_ID]`
"""

from __future__ import annotations

import itertools
import select
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from h2.connection import H2Connection
from hpack import Encoder
from hyperframe.frame import ContinuationFrame, HeadersFrame, PingFrame, RstStreamFrame
from support.http2 import SERVICE, Http2, connect, framed

from farspawn.v1 import launcher_pb2 as pb

_MANY = 100
_MOST_CONNECTIONS = 1000  # limits.max_connections of a site whose owner says nothing
_LARGEST_MESSAGE = 4 << 20


def rapid_reset(address: str) -> Iterator[None]:
    """Begin calls and reset them, as fast as bytes can be made; the frames are laid out by hand."""
    headers = _header_block()
    with Http2(address) as connection:
        for stream in itertools.count(1, 2):
            if stream % (2 * _MANY) == 1:
                yield
            begun = HeadersFrame(stream, data=headers, flags=["END_HEADERS"]).serialize()
            connection.shout(begun + RstStreamFrame(stream, error_code=8).serialize())


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
            _until_answered(connection, streams)
            yield


def silent_connections(address: str) -> Iterator[None]:
    """Hold many connections on which nothing is said."""
    held = [connect(address) for _ in range(5 * _MANY)]
    while held:
        yield
        select.select([], [], [], 0.1)


def idle_connections(address: str) -> Iterator[None]:
    """Hold many connections that are set up, and over which nothing is asked."""
    held = [_greeting(address) for _ in range(5 * _MANY)]
    while held:
        yield
        select.select([], [], [], 0.1)


def too_many_connections(address: str) -> Iterator[None]:
    """Hold all connections but one; when that has found its owner, ask for more, again and again."""
    held = [_greeting(address) for _ in range(_MOST_CONNECTIONS - 1)]
    path = address.removeprefix("unix:")
    # The socket that listens counts too. Who is not inside by then would not get in, and so has no times to measure.
    while Path("/proc/net/unix").read_text(encoding="utf-8").count(path) <= len(held) + 1:
        yield
        select.select([], [], [], 0.05)
    while True:
        for surplus in [connect(address) for _ in range(_MANY)]:
            surplus.close()
        yield


def pings(address: str) -> Iterator[None]:
    """Ping until sent away; again and again."""
    ping = PingFrame(0, opaque_data=b"farspawn").serialize() * _MANY
    while True:
        with Http2(address) as connection:
            connection.send(ping)
            _until_closed(connection)
            yield


def endless_headers(address: str) -> Iterator[None]:
    """Send headers that never end."""
    more = ContinuationFrame(1, data=(b"\0\x01a\x64" + b"b" * 100) * 100).serialize()
    with Http2(address) as connection:
        connection.shout(HeadersFrame(1, data=b"\x83").serialize())
        while True:
            connection.shout(more)
            yield


def large_metadata(address: str) -> Iterator[None]:
    """Make calls with more metadata than is taken, but all of it."""
    headers = _header_block(("note", "x" * 20_000))
    first, rest = headers[:16_000], headers[16_000:]  # a frame holds no more than 16 KiB
    with Http2(address) as connection:
        for stream in itertools.count(1, 2):
            begun = HeadersFrame(stream, data=first, flags=["END_STREAM"]).serialize()
            connection.shout(begun + ContinuationFrame(stream, data=rest, flags=["END_HEADERS"]).serialize())
            yield


def oversized_messages(address: str) -> Iterator[None]:
    """Begin messages that are larger than is taken."""
    begun = b"\0" + (_LARGEST_MESSAGE + 1).to_bytes(4) + b"x" * 1000
    connections = [Http2(address) for _ in range(10)]
    while True:
        for connection in connections:
            for _ in range(10):
                connection.call("LaunchTask", begun, half_close=False)
            connection.send()
            yield


def withheld_messages(address: str) -> Iterator[None]:
    """Begin as many calls as there is room for on several connections, and send less than their message."""
    part = framed(pb.StopTaskRequest(task_id="task"))[:-1]
    while True:
        connections = [Http2(address) for _ in range(10)]
        for connection in connections:
            for _ in range(_MANY):
                connection.call("StopTask", part, half_close=False)
            connection.send()
        yield
        while any(len(connection.statuses) < _MANY for connection in connections):
            for connection in connections:
                connection.send()  # hears, too
            select.select([], [], [], 0.1)
            yield
        for connection in connections:
            connection.close()


def slow_readers(address: str, task_id: str = "") -> Iterator[None]:
    """Follow logs without reading them, over several connections."""
    return _deaf(address, "ReadLogs", framed(pb.ReadLogsRequest(task_id=task_id, follow=True)))


def slow_watchers(address: str) -> Iterator[None]:
    """Watch what everybody does without reading it, over several connections."""
    return _deaf(address, "WatchTasks", framed(pb.WatchTasksRequest()))


def _header_block(*more: tuple[str, str]) -> bytes:
    """Return the headers of a call of GetSite, as HTTP/2 packs them."""
    encoder = Encoder()
    encoder.header_table_size = 0  # no state: the same bytes for every call
    path = (":path", f"/{SERVICE}/GetSite")
    fixed = [(":method", "POST"), (":scheme", "http"), path, (":authority", "x"), ("te", "trailers")]
    return encoder.encode([*fixed, ("content-type", "application/grpc"), *more], huffman=False)


def _until_answered(connection: Http2, streams: list[int]) -> None:
    connection.until(lambda: connection.statuses.keys() | connection.resets.keys() >= set(streams))


def _until_closed(connection: Http2) -> None:
    connection.until(lambda: connection.closed)


def _deaf(address: str, method: str, request: bytes) -> Iterator[None]:
    connections = [Http2(address) for _ in range(4)]
    for connection in connections:
        for _ in range(_MANY // 2):
            connection.call(method, request)
        connection.send()
    while True:
        yield
        select.select([], [], [], 0.1)


def _greeting(address: str) -> socket.socket:
    """Connect, and greet as HTTP/2 demands: to be silent from the beginning is another attack."""
    connection = connect(address)
    greeting = H2Connection()
    greeting.initiate_connection()
    connection.sendall(greeting.data_to_send())
    return connection


ATTACKS: dict[str, Callable[..., Iterator[None]]] = {
    attack.__name__: attack
    for attack in (
        rapid_reset,
        thousands_of_streams,
        empty_calls,
        withheld_messages,
        oversized_messages,
        silent_connections,
        idle_connections,
        too_many_connections,
        pings,
        large_metadata,
        endless_headers,
        slow_readers,
        slow_watchers,
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
