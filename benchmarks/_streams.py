"""Worker: hold WATCHES open watches and follow the logs of FOLLOWED, until standard input ends.

`python -m benchmarks._streams ADDRESS WATCHES [TASK_ID...]`: each id is one stream.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator

import grpc

from farspawn.v1 import launcher_pb2 as pb
from farspawn.v1 import launcher_pb2_grpc

_STREAMS_PER_CONNECTION = 100  # more wait in the client


async def main(address: str, watches: int, task_ids: list[str]) -> None:
    """Open all, say so when each has brought something, and read on."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_reader(0, ended.set)
    opened = asyncio.Semaphore(0)
    channels = [
        grpc.aio.insecure_channel(address, [("grpc.use_local_subchannel_pool", 1)])
        for _ in range(-(-(watches + len(task_ids)) // _STREAMS_PER_CONNECTION))
    ]

    async def read(answers: AsyncIterator[object]) -> None:
        await anext(answers)
        opened.release()
        async for _ in answers:
            pass

    def streams() -> list[AsyncIterator[object]]:
        made: list[AsyncIterator[object]] = []
        for index in range(watches + len(task_ids)):
            stub: launcher_pb2_grpc.TaskLauncherAsyncStub = launcher_pb2_grpc.TaskLauncherStub(
                channels[index // _STREAMS_PER_CONNECTION]
            )
            if index < watches:
                made.append(aiter(stub.WatchTasks(pb.WatchTasksRequest())))
            else:
                made.append(aiter(stub.ReadLogs(pb.ReadLogsRequest(task_id=task_ids[index - watches], follow=True))))
        return made

    readers = [asyncio.create_task(read(each)) for each in streams()]
    for _ in readers:
        await opened.acquire()
    print("open", flush=True)
    await ended.wait()
    for reader in readers:
        reader.cancel()
    await asyncio.gather(*readers, return_exceptions=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), sys.argv[3:]))
