"""Killed at any moment under load, an agent leaves a chain that is whole, and nothing ran that is not on record."""

from __future__ import annotations

import os
import random
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import grpc
import pytest
from support.agent import Agent, short_directory
from support.audit import audit_files, audit_lines
from support.tasks import launch, new_id, shell, stop
from support.waiting import until

from farspawn.v1 import launcher_pb2 as pb
from farspawn_server.audit.verify import verify

KILLS = 12


def size(agent: Agent) -> int:
    return sum(path.stat().st_size for path in audit_files(agent.state / "audit"))


@pytest.mark.slow
def test_no_task_runs_that_is_not_on_record_however_often_the_server_is_killed(tmp_path: Path) -> None:
    dice = random.Random(4)
    with short_directory() as directory:
        (directory / "site.toml").write_text("[audit]\nmax_file_bytes = 65536\n")
        with Agent(directory, "--config", str(directory / "site.toml")) as agent:
            over = threading.Event()

            def load() -> None:
                while not over.is_set():
                    with suppress(grpc.RpcError):
                        task_id = new_id()
                        launch(agent.stub, shell("echo $FARSPAWN_TASK_UID >>ran"), task_id=task_id, cwd=str(tmp_path))
                        stop(agent.stub, task_id)
                        stop(agent.stub, "x" * 200)

            with ThreadPoolExecutor(4) as threads:
                for _ in range(4):
                    threads.submit(load)
                try:
                    for _ in range(KILLS):
                        strike_at = size(agent) + dice.randrange(20_000)
                        until(lambda: size(agent) >= strike_at)  # noqa: B023  # asked before the next round
                        os.kill(agent.server_pid, signal.SIGKILL)
                        agent.until_serving()
                        verify(agent.state / "audit")
                finally:
                    over.set()
            agent.clear()
            known = {each.status.uid for each in agent.stub.ListTasks(pb.ListTasksRequest(page_size=1000)).tasks}
        folder = agent.state / "audit"
        found = verify(folder)
        recorded = {line["uid"] for line in audit_lines(folder) if line["outcome"] == "accepted"}
        ran = {*(tmp_path / "ran").read_text().split()}

        assert len(ran) > KILLS
        assert ran <= recorded
        assert known <= recorded
        assert found.lines > len(ran)
        assert len(audit_files(folder)) >= 1
