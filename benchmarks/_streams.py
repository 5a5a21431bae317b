"""Worker: hold WATCHES open watches and follow the logs of FOLLOWED, until standard input ends.

`python -m benchmarks._streams ADDRESS WATCHES [TASK_ID...]`: each id is one stream.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from typing import Any

import grpc

from farspawn.v1 import launcher_pb2 as pb
from farspawn.v1 import launcher_pb2_grpc

_STREAMS_PER_CONNECTION = 100  # more wait in the client


async def main(address: str, watches: int, task_ids: list[str]) -> None:
    """Open all, say so when each has brought something, and read on."""
    ended = asyncio.Event()
    asyncio.get_running_loop().add_reader(0, ended.set)
    async with grpc.aio.insecure_channel(address) as first:
        site: launcher_pb2_grpc.TaskLauncherAsyncStub = launcher_pb2_grpc.TaskLauncherStub(first)
        revision = (await site.GetSite(pb.GetSiteRequest())).site.revision  # no snapshots: what counts is staying open
    channels: list[grpc.aio.Channel] = []  # one that nobody holds is closed
    streams: list[AsyncIterator[object]] = []
    for index in range(watches + len(task_ids)):
        if index % _STREAMS_PER_CONNECTION == 0:
            channels.append(grpc.aio.insecure_channel(address, [("grpc.use_local_subchannel_pool", 1)]))
            stub: launcher_pb2_grpc.TaskLauncherAsyncStub = launcher_pb2_grpc.TaskLauncherStub(channels[-1])
        if index < watches:
            streams.append(aiter(stub.WatchTasks(pb.WatchTasksRequest(since_revision=revision))))
        else:
            streams.append(aiter(stub.ReadLogs(pb.ReadLogsRequest(task_id=task_ids[index - watches], follow=True))))
    await asyncio.gather(*(anext(stream) for stream in streams))
    print("open", flush=True)
    readers = asyncio.gather(*(read_on(stream) for stream in streams))
    either: set[asyncio.Future[Any]] = {readers, asyncio.ensure_future(ended.wait())}
    await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
    if readers.done():
        readers.result()


async def read_on(stream: AsyncIterator[object]) -> None:
    """Read to the end."""
    async for _ in stream:
        pass


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), sys.argv[3:]))
