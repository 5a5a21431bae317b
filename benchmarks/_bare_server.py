"""Worker: the least that a launcher behind gRPC can do, in one process: LaunchTask spawns, Poll waits for the exit.

Nothing is checked, recorded, contained or survived. What is left is grpc.aio, the messages and the process itself.

`python -m benchmarks._bare_server ADDRESS DIRECTORY`
"""

from __future__ import annotations

import asyncio
import os
import sys
import uuid
from collections.abc import AsyncIterator
from typing import Any

import grpc
from benchmarks._raw_launches import start

from farspawn.v1 import launcher_pb2 as pb
from farspawn.v1 import task_pb2

_Context = grpc.aio.ServicerContext[Any, Any]


class Launcher:
    """LaunchTask and Poll."""

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._exits: dict[str, asyncio.Future[int]] = {}

    async def launch(self, requests: AsyncIterator[pb.LaunchTaskRequest], _: _Context) -> pb.LaunchTaskResponse:
        """LaunchTask: what is asked for is always /bin/true."""
        await anext(requests)
        task_id = str(uuid.uuid4())
        pid = start(self._directory, task_id, "os")
        pidfd = os.pidfd_open(pid)
        loop = asyncio.get_running_loop()
        self._exits[task_id] = ended = loop.create_future()

        def reap() -> None:
            loop.remove_reader(pidfd)
            os.close(pidfd)
            ended.set_result(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))

        loop.add_reader(pidfd, reap)
        status = task_pb2.TaskStatus(task_id=task_id, pid=pid, state=task_pb2.TASK_STATE_RUNNING, revision=1)
        return pb.LaunchTaskResponse(task=task_pb2.Task(status=status), created=True)

    async def poll(self, requests: AsyncIterator[pb.PollRequest], _: _Context) -> pb.PollResponse:
        """Poll for one task's end."""
        request = await anext(requests)
        (task_id,) = request.task_ids
        outcome = task_pb2.Outcome(exit_code=await self._exits[task_id])
        del self._exits[task_id]
        status = task_pb2.TaskStatus(task_id=task_id, state=task_pb2.TASK_STATE_EXITED, revision=2, outcome=outcome)
        return pb.PollResponse(statuses=[status])


async def main(address: str, directory: str) -> None:
    """Serve for ever."""
    launcher = Launcher(directory)
    handlers: dict[str, Any] = {
        "LaunchTask": grpc.stream_unary_rpc_method_handler(
            launcher.launch,
            request_deserializer=pb.LaunchTaskRequest.FromString,
            response_serializer=pb.LaunchTaskResponse.SerializeToString,
        ),
        "Poll": grpc.stream_unary_rpc_method_handler(
            launcher.poll,
            request_deserializer=pb.PollRequest.FromString,
            response_serializer=pb.PollResponse.SerializeToString,
        ),
    }
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("farspawn.v1.TaskLauncher", handlers),))
    server.add_insecure_port(address)
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2]))
