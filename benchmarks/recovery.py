"""How long until a killed server serves again, with 0, 1,000 and 5,000 tasks running.

From SIGKILL to the moment at which the health service says SERVING: the keeper's back-off, the start of an interpreter
with grpc, and taking stock of every task. Baseline: the same with no task. A ratio says how many times the baseline;
here less is better.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from dataclasses import dataclass, field

import grpc
from benchmarks._agent import Agent, running_agent, scratch, server_of
from benchmarks._report import Figure, report
from benchmarks.memory import launch
from grpc_health.v1 import health_pb2, health_pb2_grpc

from farspawn.v1 import launcher_pb2 as pb
from farspawn.v1 import launcher_pb2_grpc

TASKS = (0, 1000, 5000)
ROUNDS = 5
TARGET_SECONDS = 2.0
# A server that lived so long is started again after the keeper's shortest delay.
_HEALTHY_SECONDS = 10.5
_LOOK_AGAIN_SECONDS = 0.005
_GIVE_UP_SECONDS = 120.0

_QUICK_TO_CONNECT = (
    ("grpc.initial_reconnect_backoff_ms", 10),
    ("grpc.min_reconnect_backoff_ms", 10),
    ("grpc.max_reconnect_backoff_ms", 10),
)


@dataclass(slots=True)
class Site:
    """An agent with so many tasks, and how long it took to come back, round by round."""

    agent: Agent
    tasks: int
    started: float = field(default_factory=time.monotonic)
    seconds: list[float] = field(default_factory=list)

    def measure(self) -> None:
        """Kill the server and wait for the next one."""
        time.sleep(max(0.0, self.started + _HEALTHY_SECONDS - time.monotonic()))
        with grpc.insecure_channel(self.agent.address, options=_QUICK_TO_CONNECT) as channel:
            server = server_of(self.agent.keeper)
            began = time.monotonic()
            os.kill(server, signal.SIGKILL)
            _until_serving(channel, began + _GIVE_UP_SECONDS)
            self.started = time.monotonic()
            self.seconds.append(self.started - began)
            stub = launcher_pb2_grpc.TaskLauncherStub(channel)
            live = stub.GetSite(pb.GetSiteRequest()).site.load.live_tasks
            assert live == self.tasks, f"{live} of {self.tasks} tasks are back"


def _until_serving(channel: grpc.Channel, give_up_at: float) -> None:
    stub = health_pb2_grpc.HealthStub(channel)
    request = health_pb2.HealthCheckRequest()
    while time.monotonic() < give_up_at:
        with contextlib.suppress(grpc.RpcError):
            answer = stub.Check(request, wait_for_ready=True, timeout=_GIVE_UP_SECONDS)
            if answer.status == health_pb2.HealthCheckResponse.SERVING:
                return
        time.sleep(_LOOK_AGAIN_SECONDS)
    raise TimeoutError("the server does not come back")


def main() -> None:
    """Measure the sites in turns."""
    with scratch() as directory, contextlib.ExitStack() as agents:
        sites = [Site(agents.enter_context(running_agent(directory / str(tasks))), tasks) for tasks in TASKS]
        for site in sites:
            asyncio.run(launch(site.agent.address, site.tasks))
        for _ in range(ROUNDS):
            for site in sites:
                site.measure()
    nothing, *others = sites
    figures = [
        Figure(f"server killed, {site.tasks} tasks", "s", site.seconds, "no tasks", nothing.seconds) for site in others
    ]
    slowest = max(others[-1].seconds)
    report("recovery", figures, {"s, the slowest with the most tasks": slowest, "s, promised": TARGET_SECONDS})


if __name__ == "__main__":
    main()
