"""An HTTP/2 connection driven by hand: says what no gRPC library would, and tells what the server makes of it."""

from __future__ import annotations

import contextlib
import gzip
import select
import socket
import ssl
import struct
from collections.abc import Callable
from typing import Self

import h2.config
import h2.connection
import h2.events
import h2.settings
from google.protobuf.message import Message

from farspawn.v1 import launcher_pb2 as pb
from support.waiting import PATIENCE, until

SERVICE = pb.DESCRIPTOR.services_by_name["TaskLauncher"].full_name

_LARGEST_WINDOW = 2**31 - 1
_NOBODY_SAYS_ANYTHING = 0.02


def connect(address: str) -> socket.socket:
    """Connect to "unix:/path" or "host:port", and say nothing."""
    if not address.startswith("unix:"):
        host, _, port = address.rpartition(":")
        return socket.create_connection((host, int(port)), PATIENCE)
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(address.removeprefix("unix:"))  # with a timeout, a full backlog would be an error
    connection.settimeout(PATIENCE)
    return connection


def framed(message: Message) -> bytes:
    """Return a message as gRPC frames it: a flag and four bytes of length before it."""
    data = message.SerializeToString()
    return struct.pack(">BI", 0, len(data)) + data


def gzipped(message: Message) -> bytes:
    """Return a message as gRPC frames it that is compressed. Say so when calling: `encoding="gzip"`."""
    data = gzip.compress(message.SerializeToString())
    return struct.pack(">BI", 1, len(data)) + data


class Http2:
    """One connection. A context manager: on leaving it is closed.

    Attributes:
        statuses: the number of the gRPC status of each stream that has one.
        resets: the error code of each stream that the server has reset.
        received: how many bytes of data each stream has brought.
        pongs: how many pings were answered.
        goaway: what the server said when it sent us away.
        closed: whether the server has closed the connection.
        greeted: whether the server has told its settings.
        most_streams: how many streams at once it says it takes.
    """

    def __init__(self, address: str, *, tls: ssl.SSLContext | None = None, window: int = _LARGEST_WINDOW) -> None:
        """Connect and greet; `window` is how many bytes may come on a stream before we take them."""
        self.statuses: dict[int, int] = {}
        self.resets: dict[int, int] = {}
        self.received: dict[int, int] = {}
        self.pongs = 0
        self.goaway = b""
        self.closed = False
        self.greeted = False
        self._outgoing = bytearray()
        self._socket = connect(address)
        if tls is not None:
            self._socket = tls.wrap_socket(self._socket, server_hostname=address.rpartition(":")[0])
        self._h2 = h2.connection.H2Connection(h2.config.H2Configuration(validate_inbound_headers=False))
        self._h2.initiate_connection()
        self._h2.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: window})
        self._h2.increment_flow_control_window(_LARGEST_WINDOW - 65535)
        self.send()
        self.until(lambda: self.greeted or self.closed)
        self.most_streams = self._h2.remote_settings.max_concurrent_streams
        self._h2.remote_settings.max_concurrent_streams = 2**31  # which we shall not keep to
        self._h2.remote_settings.acknowledge()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection without a word."""
        self._socket.close()

    def call(
        self, method: str, data: bytes = b"", *, half_close: bool = True, note: str = "", encoding: str = ""
    ) -> int:
        """Begin a call with these bytes, and `note` for metadata; return its stream.

        `encoding`: of its compressed messages. The bytes must fit into the window that the server gives.
        """
        stream = self._h2.get_next_available_stream_id()
        headers = [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", method if method.startswith("/") else f"/{SERVICE}/{method}"),
            (":authority", "localhost"),
            ("te", "trailers"),
            ("content-type", "application/grpc"),
            *([("note", note)] if note else []),
            *([("grpc-encoding", encoding)] if encoding else []),
        ]
        self._h2.send_headers(stream, headers, end_stream=half_close and not data)
        most = self._h2.max_outbound_frame_size
        for begin in range(0, len(data), most):
            part = data[begin : begin + most]
            self._h2.send_data(stream, part, end_stream=half_close and begin + most >= len(data))
        return stream

    def take(self, stream: int, size: int) -> None:
        """Let so many more bytes come on a stream."""
        self._h2.increment_flow_control_window(size, stream)

    def reset(self, stream: int) -> None:
        """Give a stream up."""
        self._h2.reset_stream(stream)

    def ping(self) -> None:
        """Ask for a pong."""
        self._h2.ping(b"farspawn")

    def send(self, raw: bytes = b"") -> None:
        """Send what was begun, and then bytes of the caller's own making.

        Hears the server meanwhile: from somebody who does not listen, it takes more and more slowly.
        """
        self._outgoing += self._h2.data_to_send() + raw
        self._push(self._hear)

    def shout(self, raw: bytes) -> None:
        """Send bytes to which the server may answer what makes no sense to us: it is not heard."""
        self._outgoing += raw
        self._push(self.read)

    def _push(self, take: Callable[[], object]) -> None:
        with contextlib.suppress(ConnectionError):  # closed by the server: that is for listening to tell
            while self._outgoing and not self.closed:
                readable, writable, _ = select.select([self._socket], [self._socket], [], PATIENCE)
                assert readable or writable, "the server takes nothing"
                if readable:
                    take()
                if writable:
                    self._socket.settimeout(PATIENCE)
                    del self._outgoing[: self._socket.send(self._outgoing)]

    def until(self, condition: Callable[[], object], patience: float = PATIENCE) -> None:
        """Listen until something holds."""

        def holds() -> object:
            self._listen()
            return condition()

        until(holds, patience, every=0)

    def until_answered(self, calls: int) -> None:
        """Listen until so many calls have their status."""
        self.until(lambda: len(self.statuses) >= calls)

    def until_ponged(self) -> None:
        """Listen until a ping was answered."""
        self.until(lambda: self.pongs)

    def _listen(self) -> None:
        self._hear()
        self.send()

    def _hear(self) -> None:
        for event in self._h2.receive_data(self.read()):
            if isinstance(event, h2.events.DataReceived):
                self.received[event.stream_id] = self.received.get(event.stream_id, 0) + len(event.data)
            elif isinstance(event, h2.events.ResponseReceived | h2.events.TrailersReceived):
                fields = dict(event.headers)
                if b"grpc-status" in fields:
                    self.statuses[event.stream_id] = int(fields[b"grpc-status"])
            elif isinstance(event, h2.events.StreamReset) and event.remote_reset:
                self.resets[event.stream_id] = event.error_code
            elif isinstance(event, h2.events.PingAckReceived):
                self.pongs += 1
            elif isinstance(event, h2.events.RemoteSettingsChanged):
                self.greeted = True
            elif isinstance(event, h2.events.ConnectionTerminated):
                self.goaway = event.additional_data or str(event.error_code).encode()
        self._outgoing += self._h2.data_to_send()

    def read(self) -> bytes:
        """Return what the server has said, for whoever wants no more of it; nothing, if it says nothing."""
        self._socket.settimeout(_NOBODY_SAYS_ANYTHING)
        try:
            data = self._socket.recv(1 << 16)
        except TimeoutError:
            return b""
        except ConnectionError:
            data = b""
        self.closed |= not data
        return data
