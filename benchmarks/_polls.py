"""Worker: call a method that takes a PollRequest for SECONDS, with IN_FLIGHT calls at once, by grpc.aio.

`python -m benchmarks._polls ADDRESS METHOD SECONDS IN_FLIGHT TASK_ID...`
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

import grpc

from farspawn.v1 import launcher_pb2 as pb

_WARM_UP_SECONDS = 0.2


async def main(address: str, method: str, seconds: float, in_flight: int, task_ids: list[str]) -> None:
    """Warm up, then measure."""
    question = pb.PollRequest(task_ids=task_ids)
    async with grpc.aio.insecure_channel(address) as channel:
        call = channel.unary_unary(
            f"/farspawn.v1.TaskLauncher/{method}",
            request_serializer=pb.PollRequest.SerializeToString,
            response_deserializer=pb.PollResponse.FromString,
        )

        async def ask_until(end: float) -> int:
            calls = 0
            while time.perf_counter() < end:
                answer = await call(question, wait_for_ready=True)
                assert len(answer.statuses) == len(task_ids), answer
                calls += 1
            return calls

        async def ask_for(span: float) -> int:
            end = time.perf_counter() + span
            return sum(await asyncio.gather(*(ask_until(end) for _ in range(in_flight))))

        warm_up_calls = await ask_for(_WARM_UP_SECONDS)
        began, cpu = time.perf_counter(), time.process_time()
        calls = await ask_for(seconds)
        result = {
            "calls": calls,
            "warm_up_calls": warm_up_calls,
            "seconds": time.perf_counter() - began,
            "cpu_seconds": time.process_time() - cpu,
        }
    print(json.dumps(result))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], float(sys.argv[3]), int(sys.argv[4]), sys.argv[5:]))
