"""Worker: launch and poll for SECONDS, one call after the other, and tell how long the calls took.

`python -m benchmarks._victim ADDRESS SECONDS`
"""

from __future__ import annotations

import json
import statistics
import sys
import time

import grpc

from farspawn.v1 import launcher_pb2 as pb
from farspawn.v1 import launcher_pb2_grpc, task_pb2

_WARM_UP = 5


def main(address: str, seconds: float) -> None:
    """Warm up, then measure."""
    launches: list[float] = []
    polls: list[float] = []
    with grpc.insecure_channel(address) as channel:
        stub = launcher_pb2_grpc.TaskLauncherStub(channel)
        end = time.perf_counter() + seconds
        while time.perf_counter() < end or len(launches) < 2 * _WARM_UP:
            began = time.perf_counter()
            task = stub.LaunchTask(pb.LaunchTaskRequest(spec=task_pb2.TaskSpec(argv=["/bin/true"]))).task
            launched = time.perf_counter()
            stub.Poll(pb.PollRequest(task_ids=[task.status.task_id]))
            polls.append(time.perf_counter() - launched)
            launches.append(launched - began)
    told: dict[str, float] = {}
    for name, spans in {"LaunchTask": launches[_WARM_UP:], "Poll": polls[_WARM_UP:]}.items():
        hundredths = statistics.quantiles(spans, n=100, method="inclusive")
        told |= {f"{name} p50": hundredths[49] * 1e3, f"{name} p99": hundredths[98] * 1e3}
    print(json.dumps(told))


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))
