"""A server that has not heard its keeper yet: it listens, serves nobody, and says so."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from support.agent import SERVING, plain_environment, short_directory
from support.refused import refused
from support.tasks import launch
from support.waiting import PATIENCE, until

from farspawn.v1 import launcher_pb2 as pb
from farspawn.v1.launcher_pb2_grpc import TaskLauncherStub
from farspawn_server.keeper.messages import Decoder, Hello, Ping, Pong, encode

NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
EXECUTED_WITH_ITS_SOCKET = "import os, sys; os.dup2(int(sys.argv[1]), 3); os.execv(sys.argv[2], sys.argv[2:])"


class DeafServer:
    """A real server whose keeper is the test."""

    def __init__(self, directory: Path) -> None:
        self.keeper, servers = socket.socketpair()
        self.keeper.settimeout(PATIENCE)
        address = f"unix:{directory}/a.sock"
        settings = json.dumps({"state": str(directory), "listen": address, "config": ""})
        with closing(servers):
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-c", EXECUTED_WITH_ITS_SOCKET, str(servers.fileno())),
                    *(sys.executable, "-P", "-m", "farspawn_server.rpc", settings),
                ],
                pass_fds=[servers.fileno()],
                env=plain_environment(),
                stdin=subprocess.DEVNULL,
            )
        self.channel = grpc.insecure_channel(address)
        self.stub: TaskLauncherStub = TaskLauncherStub(self.channel)

    def health(self) -> int:
        request = health_pb2.HealthCheckRequest(service="farspawn.v1.TaskLauncher")
        stub = health_pb2_grpc.HealthStub(self.channel)
        return int(stub.Check(request, timeout=PATIENCE, wait_for_ready=True).status)

    def say_hello(self) -> None:
        """Be a keeper that holds nothing."""
        self.keeper.sendall(encode(Hello("keeper", "boot", os.getpid())))

    def is_alive(self) -> bool:
        """Whether its event loop answers."""
        self.keeper.sendall(encode(Ping()))
        decoder = Decoder()
        while data := self.keeper.recv(1 << 16):
            if any(isinstance(each, Pong) for each in decoder.feed(data)):
                return True
        return False

    def close(self) -> None:
        self.channel.close()
        self.keeper.close()  # the end of its keeper is its own
        self.process.wait(PATIENCE)


@pytest.fixture
def server() -> Iterator[DeafServer]:
    with short_directory() as directory, closing(DeafServer(directory)) as deaf:
        yield deaf


def test_until_it_has_recovered_it_is_not_serving_and_calls_are_told_to_come_again(server: DeafServer) -> None:
    assert server.health() == NOT_SERVING
    for told in (refused(lambda: launch(server.stub, ["true"])), refused(lambda: watched(server.stub))):
        assert (told.code, told.reason) == (grpc.StatusCode.UNAVAILABLE, "RECOVERING")
        assert told.retry_after

    server.say_hello()

    until(lambda: server.health() == SERVING)
    assert not server.stub.Poll(pb.PollRequest(task_ids=["a"])).statuses


def test_it_answers_its_keeper_whether_it_lives(server: DeafServer) -> None:
    assert server.health() == NOT_SERVING  # it listens: the socket is read

    assert server.is_alive()


def watched(stub: TaskLauncherStub) -> None:
    next(iter(stub.WatchTasks(pb.WatchTasksRequest())))
