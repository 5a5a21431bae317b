"""When the machine has no more descriptors, processes or memory, launches fail and say of what, and it passes."""

from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress

import grpc
import pytest
from support.agent import AT_ONCE, FINAL, Agent, short_directory, until_ended
from support.confined import AS_NOBODY, NOBODY, ConfinedAgent, why_not
from support.refused import read
from support.specs import start, until_state
from support.tasks import launch, new_id, output, status_of, stop
from support.waiting import until

from farspawn.v1 import task_pb2
from farspawn_core import proc

NOFILE, NPROC, AS = resource.RLIMIT_NOFILE, resource.RLIMIT_NPROC, resource.RLIMIT_AS
FAILED, RUNNING = task_pb2.TASK_STATE_FAILED, task_pb2.TASK_STATE_RUNNING


@contextmanager
def limited(pid: int, what: int, most: int) -> Iterator[None]:
    """Lower a soft limit of a running process for a while."""
    before = resource.prlimit(pid, what)
    resource.prlimit(pid, what, (most, before[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, what, before)


@contextmanager
def limited_processes(pid: int, most: int) -> Iterator[None]:
    """Lower the soft limit on processes of a process of nobody's for a while: root without all its rights may not."""
    _, hard = resource.getrlimit(NPROC)
    for_nobody = [*AS_NOBODY, "prlimit", f"--pid={pid}"]
    subprocess.run([*for_nobody, f"--nproc={most}:"], check=True)
    try:
        yield
    finally:
        subprocess.run([*for_nobody, f"--nproc={hard}:"], check=True)


def launch_many(agent: Agent, spec: task_pb2.TaskSpec, count: int) -> list[task_pb2.TaskStatus]:
    """Launch so many at once, and return how those that were taken are when they have started, or not."""
    ids = [new_id() for _ in range(count)]

    def launch_one(task_id: str) -> str:
        try:
            return start(agent.stub, spec, task_id).task_id
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.UNAVAILABLE:
                agent.until_serving()
                return launch_one(task_id)  # the same one: nobody knows whether it was recorded
            if error.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED:
                raise
            return ""

    with ThreadPoolExecutor(20) as pool:
        taken = [task_id for task_id in pool.map(launch_one, ids) if task_id]
    return [until_decided(agent, task_id) for task_id in taken]


def until_decided(agent: Agent, task_id: str) -> task_pb2.TaskStatus:
    until(lambda: status_of(agent.stub, task_id).state != task_pb2.TASK_STATE_STARTING)
    return status_of(agent.stub, task_id)


def stop_all(agent: Agent, tasks: list[task_pb2.TaskStatus]) -> None:
    for task in tasks:
        if task.state not in FINAL:
            stop(agent.stub, task.task_id, AT_ONCE)
    for task in tasks:
        until_ended(agent.stub, task.task_id)


def is_well(agent: Agent) -> bool:
    """Whether a launch does what it did before."""
    task = launch(agent.stub, ["echo", "well"]).status
    return output(agent.stub, task.task_id) == b"well\n"


READS_FOR_EVER = task_pb2.TaskSpec(argv=["sleep", "1000"], open_input=True)


def descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def test_a_keeper_without_descriptors_says_so_task_by_task(own_agent: Agent) -> None:
    keeper = own_agent.keeper_pid
    before = descriptors(keeper)

    with limited(keeper, NOFILE, 64):
        tasks = launch_many(own_agent, READS_FOR_EVER, 100)
        failures = [task.outcome.launch_failure for task in tasks if task.state == FAILED]
        stop_all(own_agent, tasks)
        assert is_well(own_agent)

    assert own_agent.keeper_pid == keeper
    assert len(failures) >= 100 - 64
    assert {each.error_name for each in failures} == {"EMFILE"}
    assert {each.phase for each in failures} <= {
        task_pb2.LAUNCH_PHASE_WORKING_DIRECTORY,
        task_pb2.LAUNCH_PHASE_OUTPUT,
        task_pb2.LAUNCH_PHASE_SPAWN,
    }
    until(lambda: descriptors(keeper) == before)


def test_exits_are_told_by_a_keeper_that_has_no_descriptor_left(own_agent: Agent) -> None:
    keeper = own_agent.keeper_pid
    tasks = launch_many(own_agent, READS_FOR_EVER, 20)

    with limited(keeper, NOFILE, 3):
        for task in tasks:
            os.kill(task.pid, signal.SIGTERM)
        ended = [until_ended(own_agent.stub, task.task_id) for task in tasks]

    assert {each.outcome.signal for each in ended} == {signal.SIGTERM}
    assert {each.outcome.cause for each in ended} == {task_pb2.CAUSE_COMPLETED}


def is_dead(pid: int) -> bool:
    process = proc.read(pid)
    return process is None or not process.alive


def test_a_keeper_without_descriptors_starts_a_server_as_soon_as_it_can(own_agent: Agent) -> None:
    keeper, server = own_agent.keeper_pid, own_agent.server_pid
    task = launch(own_agent.stub, ["sleep", "1000"]).status

    with limited(keeper, NOFILE, 3):
        os.kill(server, signal.SIGKILL)
        until(lambda: "server not started" in own_agent.log or is_dead(keeper))
    own_agent.until_serving()

    assert own_agent.keeper_pid == keeper
    assert status_of(own_agent.stub, task.task_id).pid == task.pid


@pytest.mark.slow
def test_a_whole_agent_with_few_descriptors_refuses_or_fails_and_is_well_again() -> None:
    prefix = ("prlimit", "--nofile=64:64")
    if reason := why_not(prefix):
        pytest.skip(reason)
    with short_directory() as directory, ConfinedAgent(directory, prefix) as agent:
        keeper = agent.keeper_pid
        tasks = launch_many(agent, READS_FOR_EVER, 100)
        running = [task for task in tasks if task.state == RUNNING]
        failed = [task for task in tasks if task.state == FAILED]
        stop_all(agent, tasks)

        assert is_well(agent)
        assert agent.keeper_pid == keeper
        assert running
        assert {each.outcome.launch_failure.error_name for each in failed} == {"EMFILE"}
        agent.check_log()


@pytest.fixture
def nobodys_agent() -> Iterator[Agent]:
    """An agent that runs as a user whom limits on processes bind."""
    if reason := why_not(AS_NOBODY):
        pytest.skip(f"needs root, to become nobody: {reason}")
    with short_directory() as directory:
        os.chown(directory, NOBODY, NOBODY)
        with ConfinedAgent(directory, AS_NOBODY) as agent:
            yield agent
            agent.check_log()


def threads_of_nobody() -> int:
    found = 0
    for pid in proc.everything():
        try:
            if os.stat(f"/proc/{pid}").st_uid == NOBODY:
                found += len(os.listdir(f"/proc/{pid}/task"))
        except FileNotFoundError:
            continue
    return found


@pytest.mark.parametrize("room", [0, 10])
def test_a_user_without_processes_gets_eagain_task_by_task(nobodys_agent: Agent, room: int) -> None:
    agent = nobodys_agent
    keeper = agent.keeper_pid
    sleeps = task_pb2.TaskSpec(argv=["sleep", "1000"])
    assert is_well(agent)

    with limited_processes(keeper, threads_of_nobody() + room):
        tasks = launch_many(agent, sleeps, 30)
        running = [task for task in tasks if task.state == RUNNING]
        failures = [task.outcome.launch_failure for task in tasks if task.state == FAILED]
        stop_all(agent, tasks)
    well = is_well(agent)

    assert well
    assert agent.keeper_pid == keeper
    assert len(running) + len(failures) == 30
    assert len(failures) >= 30 - room - 2
    assert {(each.error_number, each.phase) for each in failures} == {(errno.EAGAIN, task_pb2.LAUNCH_PHASE_SPAWN)}


def test_a_server_without_threads_goes_on_and_is_well_again(nobodys_agent: Agent) -> None:
    agent = nobodys_agent
    ready = agent.directory / "ready"
    spec = task_pb2.TaskSpec(argv=["sleep", "1000"], readiness=task_pb2.Readiness(file=str(ready)))
    first = start(agent.stub, spec)

    with limited_processes(agent.server_pid, 1):
        second = start(agent.stub, spec)
        until_state(agent.stub, second.task_id, RUNNING)
        stop(agent.stub, first.task_id, AT_ONCE)
        assert until_ended(agent.stub, first.task_id).outcome.signal == signal.SIGKILL
    ready.touch()

    until(lambda: status_of(agent.stub, second.task_id).ready)


def test_a_keeper_without_memory_keeps_its_tasks_and_starts_the_next_when_there_is_some(own_agent: Agent) -> None:
    keeper = own_agent.keeper_pid
    task = launch(own_agent.stub, ["sleep", "1000"]).status
    large = task_pb2.TaskSpec(argv=["true"], env={f"V{number}": "x" * 100_000 for number in range(9)})
    ids = [new_id() for _ in range(30)]

    # The server may be let go for want of memory, and has to wait for some: then nobody answers.
    with (
        limited(keeper, AS, address_space(keeper) + (2 << 20)),
        suppress(grpc.RpcError),
        ThreadPoolExecutor(30) as pool,
    ):
        list(pool.map(lambda task_id: start(own_agent.stub, large, task_id), ids))
    own_agent.until_serving()
    # Which of them was recorded nobody knows: the same ids again.
    ended = [until_ended(own_agent.stub, launched_again(own_agent, large, task_id)) for task_id in ids]

    assert is_well(own_agent)
    assert own_agent.keeper_pid == keeper
    assert status_of(own_agent.stub, task.task_id).pid == task.pid
    failures = [each.outcome.launch_failure for each in ended if each.state == FAILED]
    assert {each.error_name for each in failures} <= {"ENOMEM", "EAGAIN"}
    assert {each.outcome.exit_code for each in ended if each.state != FAILED} <= {0}


def launched_again(agent: Agent, spec: task_pb2.TaskSpec, task_id: str) -> str:
    """Launch, by the same id, until there is an answer: a server that was started with little memory may die of it."""

    def launched() -> str:
        try:
            return start(agent.stub, spec, task_id).task_id
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.UNAVAILABLE:
                raise
            return ""

    return until(launched, every=0.05)


def address_space(pid: int) -> int:
    with open(f"/proc/{pid}/statm", encoding="ascii") as file:
        return int(file.read().split()[0]) * resource.getpagesize()


def test_a_site_at_its_limit_takes_a_task_again_when_one_has_ended() -> None:
    with short_directory() as directory:
        (directory / "site.toml").write_text("[limits]\nmax_live_tasks = 5\n", encoding="utf-8")
        with Agent(directory, "--config", str(directory / "site.toml")) as agent:
            refusals: list[grpc.RpcError] = []
            lock = threading.Lock()

            def launch_one(_: int) -> str:
                try:
                    return launch(agent.stub, ["sleep", "1000"]).status.task_id
                except grpc.RpcError as error:
                    with lock:
                        refusals.append(error)
                    return ""

            with ThreadPoolExecutor(10) as pool:
                taken = [task_id for task_id in pool.map(launch_one, range(10)) if task_id]
            stop(agent.stub, taken[0], AT_ONCE)
            until_ended(agent.stub, taken[0])

            assert len(taken) == 5
            no = read(refusals[0])
            assert (no.code, no.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "LIMIT_REACHED")
            assert no.retry_after is not None
            assert is_well(agent)
