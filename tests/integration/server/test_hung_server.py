"""A server that lives and does not answer is found by its keeper, and replaced: no task notices."""

from __future__ import annotations

from contextlib import suppress

import grpc
import pytest
from support.agent import Agent, short_directory, until_ended
from support.tasks import launch, shell
from support.waiting import until

from farspawn.v1 import launcher_pb2 as pb
from farspawn.v1 import task_pb2


@pytest.mark.slow
@pytest.mark.parametrize("how", ["stopped", "deadlock", "runaway"])
def test_a_server_that_hangs_is_replaced(how: str) -> None:
    with short_directory() as directory:
        flag = directory / "flag"
        flag.touch()
        environment = {
            "FARSPAWN_FAILPOINT": f"server.launch.stored:{how}:{flag}",
            "FARSPAWN_SILENCE_SECONDS": "2",
        }
        with Agent(directory, environment=environment) as agent:
            gate = directory / "gate"
            before = launch(agent.stub, shell(f"until [ -e {gate} ]; do sleep 0.01; done; exit 4")).status.task_id
            hung = agent.server_pid
            flag.unlink()

            spec = task_pb2.TaskSpec(argv=shell("exit 5"))
            with suppress(grpc.RpcError):
                agent.stub.LaunchTask(pb.LaunchTaskRequest(task_id="during", spec=spec), timeout=60)
            until(lambda: "does not answer" in agent.log)
            agent.until_serving()
            again = agent.stub.LaunchTask(pb.LaunchTaskRequest(task_id="during", spec=spec))
            gate.touch()

            assert agent.server_pid != hung
            assert not again.created
            assert until_ended(agent.stub, "during").outcome.exit_code == 5
            assert until_ended(agent.stub, before).outcome.exit_code == 4
