"""grpc.health.v1.Health: whether new tasks are taken. Whoever has a role may ask.

Not grpcio-health-checking's: there a watcher that does not read holds a lock, and with it every other watcher and the
shutdown; and a check that brings no message is never answered (see handlers.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from typing import Any

import grpc
from google.protobuf.message import Message
from grpc_health.v1 import health, health_pb2

from farspawn_server.rpc.gate import Gate
from farspawn_server.rpc.handlers import Requests, abort, only, register, send
from farspawn_server.rpc.parsing import parser
from farspawn_server.rpc.refusals import status_of
from farspawn_server.task.errors import Refusal, SpecInvalidError

NAME = health.SERVICE_NAME

_Response = health_pb2.HealthCheckResponse
_Context = grpc.aio.ServicerContext[Any, Any]

_parse = parser("Watch", health_pb2.HealthCheckRequest)


class Health:
    """One answer for all services. Used from one event loop."""

    def __init__(self, gate: Gate, *services: str) -> None:
        """NOT_SERVING until `report` says otherwise; of other services nothing is known."""
        self._gate = gate
        self._services = ("", NAME, *services)
        self._serving = False
        self._changed = asyncio.Event()

    def handlers(self) -> Mapping[str, grpc.RpcMethodHandler]:  # type: ignore[type-arg]  # of many kinds
        """Return the handler of each method, by its name."""
        kinds = {"Check": grpc.stream_unary_rpc_method_handler, "Watch": grpc.stream_stream_rpc_method_handler}
        methods = {"Check": self.check, "Watch": self.watch}
        return {name: register(kinds[name], methods[name]) for name in methods}

    def report(self, *, serving: bool) -> None:
        """Tell whoever asks from now on, and whoever watches."""
        self._serving = serving
        self._changed.set()
        self._changed = asyncio.Event()

    async def check(self, requests: Requests, context: _Context) -> Message:
        """Check."""
        try:
            self._gate.admit(context, None)
        except Refusal as error:
            await abort(context, *status_of(error))
        service = await _service(requests, context)
        if service not in self._services:
            await abort(context, grpc.StatusCode.NOT_FOUND, f"no service {service!r} here")
        return self._answer(service)

    async def watch(self, requests: Requests, context: _Context) -> None:
        """Watch."""
        try:
            self._gate.admit(context, None)
            news = self._news(await _service(requests, context))
            async with aclosing(self._gate.while_admitted(context, None, news)) as admitted:
                await send(context, admitted)
        except Refusal as error:
            await abort(context, *status_of(error))

    async def _news(self, service: str) -> AsyncIterator[Message]:
        while True:
            changed = self._changed
            yield self._answer(service)
            await changed.wait()

    def _answer(self, service: str) -> Message:
        status = _Response.SERVING if self._serving else _Response.NOT_SERVING
        answer: Message = _Response(status=status if service in self._services else _Response.SERVICE_UNKNOWN)
        return answer


async def _service(requests: Requests, context: _Context) -> str:
    try:
        request = await only(requests, _parse)
    except SpecInvalidError as error:
        await abort(context, grpc.StatusCode.INVALID_ARGUMENT, str(error))
    service: str = request.service
    return service
