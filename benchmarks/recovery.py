"""How long until a killed agent serves again, and has every task, with 0, 1,000 and 5,000 tasks running.

Killed are the server, the keeper (whose server ends by itself), and both; a keeper that has ended is started again at
once. From SIGKILL to the moment at which the health service says SERVING: the start of one interpreter or two, one of
them with grpc, and taking stock of every task, whose shims have to dial a new keeper first. Baseline: the same with no
task. A ratio says how many times the baseline; here less is better.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections import defaultdict
from dataclasses import dataclass, field

import grpc
from benchmarks._agent import Agent, running_agent, scratch
from benchmarks._report import Figure, report
from benchmarks.memory import launch
from grpc_health.v1 import health_pb2, health_pb2_grpc

from farspawn.v1 import launcher_pb2 as pb
from farspawn.v1 import launcher_pb2_grpc, task_pb2

TASKS = (0, 1000, 5000)
VICTIMS = ("server", "keeper", "both")
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
    """An agent with so many tasks, and how long it took to come back, by victim and round by round."""

    agent: Agent
    tasks: int
    started: float = field(default_factory=time.monotonic)
    seconds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def measure(self, victim: str) -> None:
        """Kill, and wait for the next one."""
        time.sleep(max(0.0, self.started + _HEALTHY_SECONDS - time.monotonic()))
        server, keeper = self.agent.server, self.agent.keeper
        with grpc.insecure_channel(self.agent.address, options=_QUICK_TO_CONNECT) as channel:
            began = time.monotonic()
            if victim != "keeper":
                os.kill(server, signal.SIGKILL)
            if victim != "server":
                os.kill(keeper, signal.SIGKILL)
                self.agent.process.wait()
                self.agent.start()
            self._wait_until_serving(channel, began, since_ns=time.time_ns())
            self.started = time.monotonic()
            self.seconds[victim].append(self.started - began)
            running = _running(launcher_pb2_grpc.TaskLauncherStub(channel))
            assert running == self.tasks, f"{running} of {self.tasks} tasks are back"

    def _wait_until_serving(self, channel: grpc.Channel, began: float, since_ns: int) -> None:
        health, launcher = health_pb2_grpc.HealthStub(channel), launcher_pb2_grpc.TaskLauncherStub(channel)
        while time.monotonic() < began + _GIVE_UP_SECONDS:
            if self.agent.process.poll() is not None:
                self.agent.start()  # the old server still had the socket
            with contextlib.suppress(grpc.RpcError):
                answer = health.Check(health_pb2.HealthCheckRequest(), timeout=1)
                if answer.status == health_pb2.HealthCheckResponse.SERVING:
                    site = launcher.GetSite(pb.GetSiteRequest(), timeout=1).site
                    if site.server_started.ToNanoseconds() > since_ns:  # not a server whose keeper has just died
                        return
            time.sleep(_LOOK_AGAIN_SECONDS)
        raise TimeoutError("the agent does not come back")


def _running(stub: launcher_pb2_grpc.TaskLauncherStub) -> int:
    """Count the tasks that are known to run: which only a shim can tell, for it is not stored."""
    count, token = 0, ""
    while True:
        which = pb.TaskFilter(states=[task_pb2.TASK_STATE_RUNNING])
        reply = stub.ListTasks(pb.ListTasksRequest(filter=which, page_size=1000, page_token=token))
        count += len(reply.tasks)
        if not (token := reply.next_page_token):
            return count


def main() -> None:
    """Measure the sites in turns."""
    with scratch() as directory, contextlib.ExitStack() as agents:
        sites = [Site(agents.enter_context(running_agent(directory / str(tasks))), tasks) for tasks in TASKS]
        for site in sites:
            asyncio.run(launch(site.agent.address, site.tasks))
        for _ in range(ROUNDS):
            for victim in VICTIMS:
                for site in sites:
                    site.measure(victim)
    nothing, *others = sites
    figures = [
        Figure(
            f"{victim} killed, {site.tasks} tasks",
            "s",
            site.seconds[victim],
            "no tasks",
            nothing.seconds[victim],
        )
        for victim in VICTIMS
        for site in others
    ]
    slowest = {f"s, the slowest of {victim}": max(others[-1].seconds[victim]) for victim in VICTIMS}
    report("recovery", figures, {**slowest, "s, promised": TARGET_SECONDS})


if __name__ == "__main__":
    main()
