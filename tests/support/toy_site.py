"""A gRPC server on a Unix socket that answers as a test says: for what only a real channel shows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import grpc
from google.protobuf.message import Message

Request = TypeVar("Request", bound=Message)
Handlers = Mapping[str, "grpc.RpcMethodHandler[Any, Any]"]


def unary(
    request: type[Request], answer: Callable[[Request, grpc.ServicerContext], Message]
) -> grpc.RpcMethodHandler[Request, Message]:
    """How one method answers."""
    return grpc.unary_unary_rpc_method_handler(answer, request.FromString, lambda message: message.SerializeToString())


def stream(
    request: type[Request], answers: Callable[[Request, grpc.ServicerContext], Iterable[Message]]
) -> grpc.RpcMethodHandler[Request, Message]:
    """How one method with many answers does."""
    return grpc.unary_stream_rpc_method_handler(
        answers, request.FromString, lambda message: message.SerializeToString()
    )


@contextmanager
def toy_site(methods: Handlers, directory: Path) -> Iterator[str]:
    """Serves these methods and no others; yields the address."""
    address = f"unix:{directory}/s"
    server = grpc.server(ThreadPoolExecutor(4), options=[("grpc.max_receive_message_length", 8 << 20)])
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("farspawn.v1.TaskLauncher", dict(methods)),))
    assert server.add_insecure_port(address)
    server.start()
    try:
        yield address
    finally:
        server.stop(0).wait()
