"""However a task's processes hide or refuse: at the end of the task none of them runs."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence

import grpc
import pytest
from support.agent import AT_ONCE, Agent, farspawnd, short_directory, until_ended
from support.processes import STAYS_BESIDE_ITS_DAEMON, Member
from support.specs import until_serving, until_state
from support.tasks import launch, members, plan, reporting, shell, status_of, stop
from support.waiting import PATIENCE, until

from farspawn.v1 import launcher_pb2 as pb
from farspawn.v1 import site_pb2, task_pb2
from farspawn.v1.launcher_pb2_grpc import TaskLauncherStub
from farspawn_core import proc

SIGTERM_ONLY = plan(grace=3600)
"""A stop whose SIGKILL comes too late for any test: SIGTERM must do."""

# A group of its own, in the session of the leader.
CHANGES_ITS_GROUP = """
if child():
    os.setpgid(0, 0)
    report("member")
    stay()
report("leader")
stay()
"""

IGNORES_EVERYTHING = """
for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
    signal.signal(number, signal.SIG_IGN)
if child(of_its_own_session=True):
    report("child")
    stay()
report("leader")
stay()
"""

STOPS_ITSELF = """
if child():
    report("child")
    os.kill(os.getpid(), signal.SIGSTOP)
    stay()
report("leader")
os.kill(os.getpid(), signal.SIGSTOP)
stay()
"""

# Double fork and a session of its own, with an environment that says nothing; but not before it is in its cgroup.
HIDES_IN_ITS_CGROUP = """
while os.environ["FARSPAWN_TASK_UID"] not in open("/proc/self/cgroup").read():
    pass
if child(of_its_own_session=True):
    if child():
        kept = {name: value for name, value in os.environ.items() if name == "LD_LIBRARY_PATH"}
        os.execve(sys.executable, [sys.executable, "-I", "-S", "-c", sys.argv[1]], kept)
    os._exit(0)
os.wait()
report("leader")
stay()
"""

# The leader ends with 3; its child, in a session of its own, holds the log and has a last word.
HOLDS_THE_LOG_OPEN = """
told, tell = os.pipe()
if child(of_its_own_session=True):
    def last_word(*_):
        os.write(1, b"last word\\n")
        os._exit(0)
    signal.signal(signal.SIGTERM, last_word)
    report("child")
    os.write(tell, b".")
    stay()
os.read(told, 1)
os._exit(3)
"""

ENDS_WITH_9_WITHOUT_ITS_FIRST_THREAD = """
import ctypes, platform, threading
def end(*_):
    report("leader")
    signal.sigwait([signal.SIGUSR1])
    os._exit(9)
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
threading.Thread(target=end).start()
ctypes.CDLL(None).syscall({"x86_64": 60}.get(platform.machine(), 93), 0)
"""

# Orphans of its own come to it, and not to the keeper.
REAPS_FOR_ITSELF = """
import ctypes
told, tell = os.pipe()
PR_SET_CHILD_SUBREAPER = 36
ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
if child(of_its_own_session=True):
    if child(of_its_own_session=True):
        report("daemon")
        os.write(tell, b".")
        stay()
    os._exit(0)
os.wait()
os.read(told, 1)
report("leader")
"""
REAPS_FOR_ITSELF_AND_STAYS = REAPS_FOR_ITSELF + "stay()"
REAPS_FOR_ITSELF_AND_ENDS = REAPS_FOR_ITSELF + "os._exit(5)"

LEAVES_ITS_FAMILY = """
told, tell = os.pipe()
for _ in range(3):
    if child(of_its_own_session=True):
        report("child")
        os.write(tell, b".")
        stay()
for _ in range(3):
    os.read(told, 1)
os._exit(6)
"""


def are_gone(family: Sequence[Member]) -> bool:
    return not [member for member in family if member.alive]


def test_a_process_that_changed_its_group_is_stopped_with_its_task(agent: Agent) -> None:
    task_id = launch(agent.stub, reporting(CHANGES_ITS_GROUP)).status.task_id
    family = members(agent.stub, task_id, 2)
    assert len({os.getpgid(member.pid) for member in family}) == 2

    stop(agent.stub, task_id, SIGTERM_ONLY)
    until_ended(agent.stub, task_id)

    assert are_gone(family)


def test_who_ignores_every_signal_that_can_be_ignored_is_killed(agent: Agent) -> None:
    task_id = launch(agent.stub, reporting(IGNORES_EVERYTHING)).status.task_id
    family = members(agent.stub, task_id, 2)

    stop(agent.stub, task_id, plan(grace=0.2))
    ended = until_ended(agent.stub, task_id)

    assert ended.outcome.signal == signal.SIGKILL
    assert ended.times.killed.ToNanoseconds() - ended.times.signalled.ToNanoseconds() >= 190_000_000
    assert are_gone(family)


def test_who_ignores_every_signal_delays_no_other_stop(agent: Agent) -> None:
    stubborn = launch(agent.stub, reporting(IGNORES_EVERYTHING)).status.task_id
    members(agent.stub, stubborn, 2)
    others = [launch(agent.stub, ["sleep", "60"]).status.task_id for _ in range(5)]
    stop(agent.stub, stubborn, SIGTERM_ONLY)

    for task_id in others:
        stop(agent.stub, task_id, SIGTERM_ONLY)
    ended = [until_ended(agent.stub, task_id) for task_id in others]

    assert {each.outcome.signal for each in ended} == {signal.SIGTERM}
    assert status_of(agent.stub, stubborn).state == task_pb2.TASK_STATE_STOPPING


def test_a_family_that_stopped_itself_is_continued_so_that_it_hears_sigterm(agent: Agent) -> None:
    task_id = launch(agent.stub, reporting(STOPS_ITSELF)).status.task_id
    family = members(agent.stub, task_id, 2)
    until(lambda: all(is_stopped(member) for member in family))

    stop(agent.stub, task_id, SIGTERM_ONLY)
    ended = until_ended(agent.stub, task_id)

    assert ended.outcome.signal == signal.SIGTERM
    assert are_gone(family)


def is_stopped(member: Member) -> bool:
    process = proc.read(member.pid)
    return process is not None and process.state == "T"


@pytest.mark.parametrize("how", [SIGTERM_ONLY, AT_ONCE], ids=["sigterm", "sigkill"])
def test_who_clears_its_environment_and_leaves_session_and_parent_stays_in_its_cgroup(
    agent: Agent, how: task_pb2.StopPlan
) -> None:
    if site_pb2.CONTAINMENT_TIER_CGROUP not in agent.stub.GetSite(pb.GetSiteRequest()).site.containment:
        pytest.skip("no cgroup v2 here in which the agent may make groups: see test_containment_without_cgroups.py")
    task_id = launch(agent.stub, reporting(HIDES_IN_ITS_CGROUP)).status.task_id
    family = members(agent.stub, task_id, 2)

    stop(agent.stub, task_id, how)
    until_ended(agent.stub, task_id)

    assert are_gone(family)


def test_the_last_word_of_who_holds_the_log_open_is_in_the_log(agent: Agent) -> None:
    task_id = launch(agent.stub, reporting(HOLDS_THE_LOG_OPEN)).status.task_id
    family = members(agent.stub, task_id, 1)

    parts = list(agent.stub.ReadLogs(pb.ReadLogsRequest(task_id=task_id, follow=True), timeout=PATIENCE))

    assert b"".join(part.chunk.data for part in parts).endswith(b"\nlast word\n")
    assert parts[-1].end.complete
    assert status_of(agent.stub, task_id).outcome.exit_code == 3
    assert are_gone(family)


def test_the_output_of_a_task_is_not_complete_while_somebody_holds_its_log_open(agent: Agent) -> None:
    task_id = launch(agent.stub, reporting(HOLDS_THE_LOG_OPEN), stop=plan(linger=3600)).status.task_id
    members(agent.stub, task_id, 1)
    until_state(agent.stub, task_id, task_pb2.TASK_STATE_STOPPING)

    parts = list(agent.stub.ReadLogs(pb.ReadLogsRequest(task_id=task_id), timeout=PATIENCE))

    assert not parts[-1].end.complete


def test_the_exit_code_of_a_leader_without_its_first_thread_is_that_of_the_process(agent: Agent) -> None:
    task_id = launch(agent.stub, reporting(ENDS_WITH_9_WITHOUT_ITS_FIRST_THREAD)).status.task_id
    (leader,) = members(agent.stub, task_id, 1)

    os.kill(leader.pid, signal.SIGUSR1)

    assert until_ended(agent.stub, task_id).outcome.exit_code == 9


def test_what_a_subreaper_has_gathered_is_stopped_with_it(agent: Agent) -> None:
    task_id = launch(agent.stub, reporting(REAPS_FOR_ITSELF_AND_STAYS)).status.task_id
    family = members(agent.stub, task_id, 2)

    stop(agent.stub, task_id, SIGTERM_ONLY)
    until_ended(agent.stub, task_id)

    assert are_gone(family)


def test_what_a_subreaper_had_gathered_is_stopped_after_it(agent: Agent) -> None:
    task_id = launch(agent.stub, reporting(REAPS_FOR_ITSELF_AND_ENDS), stop=SIGTERM_ONLY).status.task_id
    family = members(agent.stub, task_id, 2)

    ended = until_ended(agent.stub, task_id)

    assert ended.outcome.exit_code == 5
    assert are_gone(family)


def test_what_a_leader_leaves_behind_is_stopped_by_its_plan_and_the_outcome_is_the_leaders(agent: Agent) -> None:
    how = plan(linger=0.5, signal=signal.SIGUSR2, grace=3600)
    task_id = launch(agent.stub, reporting(LEAVES_ITS_FAMILY), stop=how).status.task_id
    family = members(agent.stub, task_id, 3)
    stopping = until_state(agent.stub, task_id, task_pb2.TASK_STATE_STOPPING)

    ended = until_ended(agent.stub, task_id)

    assert stopping.times.HasField("leader_exited")
    assert ended.outcome.exit_code == 6
    assert ended.outcome.cause == task_pb2.CAUSE_COMPLETED
    assert not ended.outcome.stopped_by
    assert not ended.outcome.survivors
    assert ended.times.signalled.ToNanoseconds() - ended.times.leader_exited.ToNanoseconds() >= 500_000_000
    assert not ended.times.HasField("killed")
    assert are_gone(family)


def test_a_task_that_kills_its_whole_group_hits_nobody_elses(agent: Agent) -> None:
    beside = launch(agent.stub, ["sleep", "60"]).status.task_id

    hostile = launch(agent.stub, shell("kill -9 0")).status.task_id

    assert until_ended(agent.stub, hostile).outcome.signal == signal.SIGKILL
    assert status_of(agent.stub, beside).state == task_pb2.TASK_STATE_RUNNING


@pytest.mark.parametrize("ended_by", ["its stop", "the end of its keeper"])
def test_the_tasks_of_an_agent_within_a_task_are_gone_with_it(agent: Agent, ended_by: str) -> None:
    with short_directory() as directory:
        command = farspawnd("--state", str(directory / "state"), "--listen", f"unix:{directory}/a.sock")
        outer = launch(agent.stub, command).status
        with grpc.insecure_channel(f"unix:{directory}/a.sock") as channel:
            inner = TaskLauncherStub(channel)
            until_serving(inner)
            family = members(inner, launch(inner, reporting(STAYS_BESIDE_ITS_DAEMON)).status.task_id, 2)

        if ended_by == "its stop":
            stop(agent.stub, outer.task_id, AT_ONCE)
        else:
            os.kill(outer.pid, signal.SIGKILL)
        ended = until_ended(agent.stub, outer.task_id)

    assert ended.outcome.signal == signal.SIGKILL
    assert are_gone(family)


def test_an_agent_within_a_task_stops_its_own_tasks_by_their_plans_when_it_is_stopped(agent: Agent) -> None:
    with short_directory() as directory:
        command = farspawnd("--state", str(directory / "state"), "--listen", f"unix:{directory}/a.sock")
        outer = launch(agent.stub, command).status.task_id
        with grpc.insecure_channel(f"unix:{directory}/a.sock") as channel:
            inner = TaskLauncherStub(channel)
            until_serving(inner)
            says_goodbye = "signal.signal(15, lambda *_: (open('goodbye', 'w'), os._exit(0))); report(); stay()"
            members(inner, launch(inner, reporting(says_goodbye), cwd=str(directory)).status.task_id, 1)

        agent.stub.SignalTask(pb.SignalTaskRequest(task_id=outer, signal=signal.SIGTERM))
        ended = until_ended(agent.stub, outer)

        assert ended.outcome.exit_code == 0
        assert (directory / "goodbye").exists()
