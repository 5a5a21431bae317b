"""grpc.reflection: what the contract is, for whoever has a role."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from typing import Any

import grpc
from google.protobuf.message import Message
from grpc_reflection.v1alpha import reflection

from farspawn_server.rpc.gate import Gate
from farspawn_server.rpc.handlers import abort
from farspawn_server.rpc.refusals import status_of
from farspawn_server.task.errors import Refusal


class Reflection:
    """grpcio-reflection's, behind the gate."""

    def __init__(self, gate: Gate, services: Sequence[str]) -> None:
        """Describe these services."""
        self._gate = gate
        self._reflection: Any = reflection.aio.ReflectionServicer(services)  # it ships no types

    async def ServerReflectionInfo(  # noqa: N802  # the contract's name
        self, requests: AsyncIterator[Message], context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[Message]:
        """ServerReflectionInfo."""
        try:
            self._gate.admit(context, None)
            answers = self._reflection.ServerReflectionInfo(requests, context)
            async with aclosing(self._gate.while_admitted(context, None, answers)) as admitted:
                async for answer in admitted:
                    yield answer
        except Refusal as error:
            await abort(context, *status_of(error))
