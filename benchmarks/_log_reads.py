"""Worker: read the logs of tasks once, all at the same time, and tell how many bytes came in how many seconds.

`python -m benchmarks._log_reads ADDRESS OFFSET TASK_ID...`
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

import grpc

from farspawn.v1 import launcher_pb2 as pb
from farspawn.v1 import launcher_pb2_grpc


async def main(address: str, offset: int, task_ids: list[str]) -> None:
    """Read, and print what it took."""
    async with grpc.aio.insecure_channel(address) as channel:
        site: launcher_pb2_grpc.TaskLauncherAsyncStub = launcher_pb2_grpc.TaskLauncherStub(channel)
        await channel.channel_ready()

        async def read(task_id: str) -> int:
            request = pb.ReadLogsRequest(task_id=task_id, offset=offset)
            return sum([len(part.chunk.data) async for part in site.ReadLogs(request)])

        began_at = time.perf_counter()
        read_bytes = sum(await asyncio.gather(*map(read, task_ids)))
        print(json.dumps({"bytes": read_bytes, "seconds": time.perf_counter() - began_at}))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), sys.argv[3:]))
