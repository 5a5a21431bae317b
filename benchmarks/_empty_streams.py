"""Worker: a grpc.aio server whose ReadLogs sends the same ready chunk of 64 KiB again and again: `offset` times.

It is registered as the agent registers it, stream-stream.

`python -m benchmarks._empty_streams ADDRESS`
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from typing import Any

import grpc

from farspawn.v1 import launcher_pb2 as pb

SERVICE = "farspawn.v1.TaskLauncher"
CHUNK_BYTES = 64 * 1024

_Context = grpc.aio.ServicerContext[Any, Any]


async def main(address: str) -> None:
    """Serve for ever."""
    chunk = pb.ReadLogsResponse.Chunk(offset=1 << 30, data=b"x" * CHUNK_BYTES)
    ready = pb.ReadLogsResponse(chunk=chunk).SerializeToString()

    async def read_logs(requests: AsyncIterator[pb.ReadLogsRequest], context: _Context) -> None:
        request = await anext(requests)
        for _ in range(request.offset):
            await context.write(ready)

    handler: grpc.RpcMethodHandler[pb.ReadLogsRequest, bytes] = grpc.stream_stream_rpc_method_handler(
        read_logs, request_deserializer=pb.ReadLogsRequest.FromString, response_serializer=bytes
    )
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {"ReadLogs": handler}),))
    server.add_insecure_port(address)
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
