"""What is gone with its task where the agent may make no cgroups: all of it."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import grpc
import pytest
from support.agent import AT_ONCE, Agent, farspawnd, short_directory, until_ended
from support.confined import WITHOUT_CGROUPS, ConfinedAgent, why_not
from support.crash import shim_of
from support.processes import LEAVES_A_NAMELESS_MEMBER, LIKE_TORCHRUN, LIKE_TORCHRUN_SIZE, STAYS_BESIDE_ITS_DAEMON
from support.specs import until_serving
from support.tasks import launch, members, plan, reporting, stop
from support.waiting import until

from farspawn.v1 import launcher_pb2 as pb
from farspawn.v1 import site_pb2, task_pb2
from farspawn.v1.launcher_pb2_grpc import TaskLauncherStub
from farspawn_core import proc

# Double fork and a session of its own, with an environment that says nothing.
HIDES_COMPLETELY = """
if child(of_its_own_session=True):
    if child():
        kept = {name: value for name, value in os.environ.items() if name == "LD_LIBRARY_PATH"}
        os.execve(sys.executable, [sys.executable, "-I", "-S", "-c", sys.argv[1]], kept)
    os._exit(0)
os.wait()
report("leader")
stay()
"""
# The same, but for the parent: the hidden one is in the tree as long as that lives.
HIDES_UNDER_ITS_PARENT = HIDES_COMPLETELY.replace("    os._exit(0)\nos.wait()", "    report('parent')\n    stay()")

# The leader ends at once; its child stays in its session, with an environment that names another task, or none.
LEAVES_A_MISNAMED_MEMBER = """
told, tell = os.pipe()
if child():
    os.set_inheritable(tell, True)
    program = f"import os; os.write({tell}, b'.')\\n" + sys.argv[1]
    os.execve(sys.executable, [sys.executable, "-I", "-S", "-c", program], {**os.environ, "FARSPAWN_TASK_UID": "no/no"})
os.read(told, 1)
"""


@pytest.fixture(scope="module")
def _bare_agent() -> Iterator[Agent]:
    if reason := why_not(WITHOUT_CGROUPS):
        pytest.skip(f"needs root, to hide the cgroups: {reason}")
    with short_directory() as directory, ConfinedAgent(directory, WITHOUT_CGROUPS) as agent:
        yield agent


@pytest.fixture
def bare_agent(_bare_agent: Agent) -> Iterator[Agent]:
    """A running agent without cgroups, which the tests of this file share."""
    yield _bare_agent
    _bare_agent.clear()


def test_a_site_says_that_it_has_no_cgroups(bare_agent: Agent) -> None:
    site = bare_agent.stub.GetSite(pb.GetSiteRequest()).site

    assert list(site.containment) == [site_pb2.CONTAINMENT_TIER_SUBREAPER]


@pytest.mark.parametrize("how", [plan(linger=0, grace=3600), AT_ONCE], ids=["sigterm", "sigkill"])
@pytest.mark.parametrize(
    ("body", "size"),
    [
        (LIKE_TORCHRUN, LIKE_TORCHRUN_SIZE),
        (STAYS_BESIDE_ITS_DAEMON, 2),
        (LEAVES_A_NAMELESS_MEMBER, 1),
        (LEAVES_A_MISNAMED_MEMBER, 1),
        (HIDES_UNDER_ITS_PARENT, 3),
    ],
    ids=["sessions", "daemon", "no environment", "a false uid", "no environment and a session"],
)
def test_every_session_and_orphan_is_gone_with_its_task(
    bare_agent: Agent, body: str, size: int, how: task_pb2.StopPlan
) -> None:
    task_id = launch(bare_agent.stub, reporting(body), stop=plan(linger=3600)).status.task_id
    family = members(bare_agent.stub, task_id, size)

    stop(bare_agent.stub, task_id, how)
    until_ended(bare_agent.stub, task_id)

    assert not [member for member in family if member.alive]


def test_who_hides_completely_is_gone_with_its_task(bare_agent: Agent) -> None:
    task_id = launch(bare_agent.stub, reporting(HIDES_COMPLETELY)).status.task_id
    family = members(bare_agent.stub, task_id, 2)

    stop(bare_agent.stub, task_id, AT_ONCE)
    ended = until_ended(bare_agent.stub, task_id)

    assert not [member for member in family if member.alive]
    assert not ended.outcome.survivors


@pytest.mark.parametrize("ended_by", ["its stop", "the end of its keeper"])
def test_the_tasks_of_an_agent_within_a_task_are_gone_with_it(bare_agent: Agent, ended_by: str) -> None:
    with short_directory() as directory:
        command = farspawnd("--state", str(directory / "state"), "--listen", f"unix:{directory}/a.sock")
        outer = launch(bare_agent.stub, command).status
        with grpc.insecure_channel(f"unix:{directory}/a.sock") as channel:
            inner = TaskLauncherStub(channel)
            until_serving(inner)
            family = members(inner, launch(inner, reporting(STAYS_BESIDE_ITS_DAEMON)).status.task_id, 2)

        if ended_by == "its stop":
            stop(bare_agent.stub, outer.task_id, AT_ONCE)
        else:
            os.kill(outer.pid, signal.SIGKILL)
        until_ended(bare_agent.stub, outer.task_id)

    left = [member for member in family if member.alive]
    for member in left:
        os.kill(member.pid, signal.SIGKILL)
    until(lambda: not bare_agent.task_processes())
    assert not left


def test_what_a_shim_leaves_that_was_killed_beside_its_keeper_is_found_by_its_run_file() -> None:
    if reason := why_not(WITHOUT_CGROUPS):
        pytest.skip(f"needs root, to hide the cgroups: {reason}")
    with short_directory() as directory, ConfinedAgent(directory, WITHOUT_CGROUPS) as killed:
        task = launch(killed.stub, reporting(LIKE_TORCHRUN)).status
        family = members(killed.stub, task.task_id, LIKE_TORCHRUN_SIZE)
        holder = shim_of(f"{task.uid}/1")
        killed.kill_keeper()
        proc.send(holder, signal.SIGKILL)

        with ConfinedAgent(directory, WITHOUT_CGROUPS) as agent:
            ended = until_ended(agent.stub, task.task_id)

    assert (ended.state, ended.outcome.cause) == (task_pb2.TASK_STATE_LOST, task_pb2.CAUSE_SUPERVISION_LOST)
    assert (ended.pid, ended.times.started) == (task.pid, task.times.started)
    assert not [member for member in family if member.alive]
