"""Worker: a grpc.aio server whose handlers do nothing: each answers every call with the same ready PollResponse.

`Poll` is registered as the agent registers it, stream-unary; `UnaryPoll` as a plain unary method.

`python -m benchmarks._empty_server ADDRESS FILE_OF_THE_ANSWER`
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc

from farspawn.v1 import launcher_pb2 as pb

SERVICE = "farspawn.v1.TaskLauncher"

_Context = grpc.aio.ServicerContext[Any, Any]


async def main(address: str, answer: pb.PollResponse) -> None:
    """Serve for ever."""

    async def poll(requests: AsyncIterator[pb.PollRequest], _: _Context) -> pb.PollResponse:
        await anext(requests)
        return answer

    async def unary_poll(_: pb.PollRequest, __: _Context) -> pb.PollResponse:
        return answer

    handlers: dict[str, grpc.RpcMethodHandler[pb.PollRequest, pb.PollResponse]] = {
        "Poll": grpc.stream_unary_rpc_method_handler(
            poll, request_deserializer=pb.PollRequest.FromString, response_serializer=pb.PollResponse.SerializeToString
        ),
        "UnaryPoll": grpc.unary_unary_rpc_method_handler(
            unary_poll,
            request_deserializer=pb.PollRequest.FromString,
            response_serializer=pb.PollResponse.SerializeToString,
        ),
    }
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    server.add_insecure_port(address)
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], pb.PollResponse.FromString(Path(sys.argv[2]).read_bytes())))
