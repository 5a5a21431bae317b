"""Calls that no generated stub would make: without a message, with bytes that are none, with too many."""

from __future__ import annotations

from collections.abc import Iterable

import grpc

from farspawn.v1 import launcher_pb2 as pb

SERVICE = pb.DESCRIPTOR.services_by_name["TaskLauncher"]
METHODS = [method.name for method in SERVICE.methods]


def call(channel: grpc.Channel, method: str, messages: Iterable[bytes], timeout: float = 30.0) -> list[bytes]:
    """Call a method with these bytes for messages, half-close, and return the answers.

    On the wire every kind of call is a stream of messages: the kind is a promise, and this breaks it.
    """
    stream = channel.stream_stream(f"/{SERVICE.full_name}/{method}", lambda message: message, lambda message: message)
    return list(stream(iter(messages), timeout=timeout))
