"""Worker: launch /bin/true COUNT times with IN_FLIGHT at once and see each one's exit, by grpc.aio.

`python -m benchmarks._launches ADDRESS COUNT IN_FLIGHT`
"""

from __future__ import annotations

import asyncio
import itertools
import json
import statistics
import sys
import time

import grpc
from google.protobuf.duration_pb2 import Duration

from farspawn.v1 import launcher_pb2 as pb
from farspawn.v1 import launcher_pb2_grpc, task_pb2

_FINAL = frozenset({task_pb2.TASK_STATE_EXITED, task_pb2.TASK_STATE_FAILED, task_pb2.TASK_STATE_LOST})
_WAIT = Duration(seconds=60)
_WARM_UP = 32


async def launch_to_exit(stub: launcher_pb2_grpc.TaskLauncherAsyncStub) -> int:
    """Launch a task and follow it to its end; return how many calls that took."""
    launched = await stub.LaunchTask(pb.LaunchTaskRequest(spec=task_pb2.TaskSpec(argv=["/bin/true"])))
    status, calls = launched.task.status, 1
    while status.state not in _FINAL:
        question = pb.PollRequest(task_ids=[status.task_id], wait=_WAIT, since_revision=status.revision)
        answer = await stub.Poll(question)
        calls += 1
        (status,) = answer.statuses or [status]
    assert status.outcome.WhichOneof("ending") == "exit_code", status
    assert status.outcome.exit_code == 0, status
    return calls


async def main(address: str, count: int, in_flight: int) -> None:
    """Warm up, then measure."""
    async with grpc.aio.insecure_channel(address) as channel:
        stub: launcher_pb2_grpc.TaskLauncherAsyncStub = launcher_pb2_grpc.TaskLauncherStub(channel)
        latencies: list[float] = []
        calls = 0

        async def run(turns: itertools.count[int], last: int) -> None:
            nonlocal calls
            while next(turns) < last:
                began = time.perf_counter()
                needed = await launch_to_exit(stub)
                latencies.append(time.perf_counter() - began)
                calls += needed  # not across the await: others count too

        async def run_all(number: int) -> None:
            turns = itertools.count()
            await asyncio.gather(*(run(turns, number) for _ in range(in_flight)))

        await run_all(_WARM_UP)
        latencies.clear()
        calls = 0
        began, cpu = time.perf_counter(), time.process_time()
        await run_all(count)
        result = {
            "seconds": time.perf_counter() - began,
            "cpu_seconds": time.process_time() - cpu,
            "calls": calls,
            "warm_up": _WARM_UP,
            "p50_seconds": statistics.median(latencies),
            "p99_seconds": statistics.quantiles(latencies, n=100)[98],
        }
    print(json.dumps(result))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
