"""How tasks end: code, signal, core dump and usage are separate facts."""

from __future__ import annotations

import os
import resource
import signal
from pathlib import Path

import pytest
from support.agent import Agent, until_ended
from support.tasks import first_lines, launch, python, shell

from farspawn.v1 import launcher_pb2 as pb
from farspawn.v1 import task_pb2


@pytest.mark.parametrize("code", [0, 1, 127, 128 + 9, 255])
def test_every_exit_code_is_told_as_it_is(agent: Agent, code: int) -> None:
    outcome = until_ended(agent.stub, launch(agent.stub, shell(f"exit {code}")).status.task_id).outcome

    assert outcome.WhichOneof("ending") == "exit_code"
    assert outcome.exit_code == code


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGUSR1, signal.SIGRTMAX])
def test_a_task_ended_by_a_signal_has_no_exit_code(agent: Agent, number: int) -> None:
    task = launch(agent.stub, python(f"import os; os.kill(os.getpid(), {number})"))

    outcome = until_ended(agent.stub, task.status.task_id).outcome

    assert outcome.WhichOneof("ending") == "signal"
    assert outcome.signal == number
    assert not outcome.HasField("exit_code")
    assert not outcome.core_dumped


def test_a_core_dump_is_told(agent: Agent, tmp_path: Path) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    if hard == 0:
        pytest.skip("the hard limit of core dumps is 0 here (RLIMIT_CORE)")
    pattern = Path("/proc/sys/kernel/core_pattern").read_text().strip()
    if pattern.startswith(("|", "/")) or not pattern:
        pytest.skip(f"core dumps do not go to the working directory here (kernel.core_pattern = {pattern})")
    body = "import os, resource, signal, sys; h = resource.getrlimit(4)[1]; resource.setrlimit(4, (h, h)); os.abort()"

    outcome = until_ended(agent.stub, launch(agent.stub, python(body), cwd=str(tmp_path)).status.task_id).outcome

    assert outcome.signal == signal.SIGABRT
    assert outcome.core_dumped
    assert os.listdir(tmp_path)


def test_out_of_memory_is_never_guessed(agent: Agent) -> None:
    task = launch(agent.stub, python("import os; os.kill(os.getpid(), 9)"))

    outcome = until_ended(agent.stub, task.status.task_id).outcome
    assert outcome.oom_kill in (task_pb2.OOM_KILL_UNSPECIFIED, task_pb2.OOM_KILL_NO)


def test_the_usage_is_that_of_the_task(agent: Agent) -> None:
    body = "import os, time\nheld = b'x' * 50_000_000\nwhile time.process_time() < 0.2: pass"

    usage = until_ended(agent.stub, launch(agent.stub, python(body)).status.task_id).outcome.usage

    assert usage.user_time.ToMilliseconds() + usage.system_time.ToMilliseconds() >= 200
    assert 50_000_000 < usage.max_resident_bytes < 500_000_000


def test_the_usage_holds_the_children_that_were_waited_for(agent: Agent) -> None:
    burn = "i=0; while [ $i -lt 60000 ]; do i=$((i+1)); done"

    alone = until_ended(agent.stub, launch(agent.stub, shell("true")).status.task_id).outcome.usage
    with_child = until_ended(
        agent.stub, launch(agent.stub, shell(f"sh -c '{burn}'; true")).status.task_id
    ).outcome.usage

    assert with_child.user_time.ToMicroseconds() > alone.user_time.ToMicroseconds() + 5_000


def test_a_task_signalled_from_outside_of_the_site_ends_with_that_signal(agent: Agent) -> None:
    task = launch(agent.stub, shell("echo up; exec sleep 60"))
    first_lines(agent.stub, task.status.task_id, 1)

    os.kill(task.status.pid, signal.SIGUSR2)

    outcome = until_ended(agent.stub, task.status.task_id).outcome
    assert outcome.signal == signal.SIGUSR2
    assert outcome.stopped_by == ""


def test_a_final_state_never_changes(agent: Agent) -> None:
    task_id = launch(agent.stub, shell("exit 3")).status.task_id
    ended = until_ended(agent.stub, task_id)

    agent.stub.StopTask(pb.StopTaskRequest(task_id=task_id))

    (later,) = agent.stub.Poll(pb.PollRequest(task_ids=[task_id])).statuses
    assert later == ended
    assert later.state == task_pb2.TASK_STATE_EXITED
