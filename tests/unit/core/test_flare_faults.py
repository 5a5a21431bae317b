"""Each known fault of NVIDIA FLARE's ProcessAdapter and spawn_process (2.9), and the proof that ours is without it."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from support import atfork
from support.apart import Apart, own_pid_namespace
from support.processes import (
    DOUBLE_FORKS,
    LEAVES_A_NAMELESS_MEMBER,
    LIKE_TORCHRUN,
    LIKE_TORCHRUN_SIZE,
    PLAIN,
    STAYS_BESIDE_ITS_DAEMON,
    Family,
    Member,
    python_program,
    state,
)
from support.waiting import PATIENCE, until

from farspawn_core import ProcessAdapter, SpawnError, spawn, spawn_process


def _start(body: str, family: Family) -> ProcessAdapter:
    return spawn_process(python_program(body), PLAIN, descriptors=family.descriptors)


def _forks_for_a_bare_name() -> list[int]:
    code = spawn_process(["true"], PLAIN).wait(PATIENCE)
    with pytest.raises(SpawnError):
        spawn_process(["no-such-program"], PLAIN)
    return [code, atfork.count()]


def test_a_bare_program_name_is_searched_and_never_falls_back_to_fork(atfork_counter: atfork.AtforkCounter) -> None:
    code, forks = Apart(environment=atfork_counter.environment).run(_forks_for_a_bare_name)

    assert (code, forks) == (0, 0)


def test_terminate_after_the_leader_was_reaped_reaches_the_group(family: Family) -> None:
    process = _start(LEAVES_A_NAMELESS_MEMBER, family)
    (member,) = family.members(1)
    assert process.wait(PATIENCE) == 0
    assert os.getpgid(member.pid) == process.pid

    process.terminate()

    assert family.is_gone()


def test_terminate_after_the_leader_was_reaped_reaches_a_daemon_of_another_session(family: Family) -> None:
    process = _start(DOUBLE_FORKS, family)
    daemon = next(member for member in family.members(2) if member.word == "daemon")
    assert process.wait(PATIENCE) == 0
    assert os.getsid(daemon.pid) != process.pid

    process.terminate()

    assert family.is_gone()


def test_ranks_in_sessions_of_their_own_are_gone_after_terminate(family: Family) -> None:
    process = _start(LIKE_TORCHRUN, family)
    members = family.members(LIKE_TORCHRUN_SIZE)
    assert len({os.getsid(member.pid) for member in members}) == 3

    process.terminate()

    assert family.is_gone()


def test_sigterm_reaches_the_whole_tree_and_not_only_the_leader(family: Family) -> None:
    body = "signal.signal(signal.SIGTERM, lambda *_: (report('asked'), os._exit(0)))\n" + LIKE_TORCHRUN
    process = _start(body, family)
    family.members(LIKE_TORCHRUN_SIZE)

    process.terminate(grace=PATIENCE)

    asked = family.members(2 * LIKE_TORCHRUN_SIZE)[LIKE_TORCHRUN_SIZE:]
    assert {member.word for member in asked} == {"asked"}


def test_wait_and_poll_in_several_threads_never_give_a_wrong_code() -> None:
    codes: list[int | None] = []
    with ThreadPoolExecutor(4) as pool:
        for _ in range(300):
            process = spawn_process(["true"], PLAIN)
            asked = [pool.submit(ask, process) for ask in (_wait, _poll_until_ended, _wait, _poll_until_ended)]
            codes += [answer.result() for answer in asked]

    assert codes == [0] * 1200


def _wait(process: ProcessAdapter) -> int | None:
    return process.wait()


def _poll_until_ended(process: ProcessAdapter) -> int | None:
    until(lambda: process.poll() is not None, every=0.0005)
    return process.poll()


def test_terminate_from_many_threads_at_once_is_safe(family: Family) -> None:
    process = _start(STAYS_BESIDE_ITS_DAEMON, family)
    family.members(2)
    together = threading.Barrier(8)

    def terminate() -> int:
        together.wait()
        return len(process.terminate())

    with ThreadPoolExecutor(8) as pool:
        survivors = [answer.result(PATIENCE) for answer in [pool.submit(terminate) for _ in range(8)]]

    assert survivors == [0] * 8
    assert process.poll() == -signal.SIGKILL
    assert family.is_gone()


def test_terminate_twice_is_a_no_op(family: Family) -> None:
    process = _start(LIKE_TORCHRUN, family)
    family.members(LIKE_TORCHRUN_SIZE)

    assert [process.terminate(), process.terminate(grace=1.0), process.kill()] == [[], [], []]
    assert process.poll() == -signal.SIGKILL


def test_a_grandchild_that_holds_standard_output_hangs_nothing() -> None:
    reading, writing = os.pipe()
    with open(reading, "rb") as output:
        process = spawn_process(["sh", "-c", "sleep 600 & exit 3"], PLAIN, descriptors=(0, writing, writing))
        os.close(writing)

        assert process.wait(PATIENCE) == 3
        assert process.poll() == 3
        assert process.terminate() == []
        assert output.read() == b""  # its end: nobody holds it any more


def _make_next(pid: int) -> None:
    """Make the kernel begin its search for a free pid at this one."""
    with open("/proc/sys/kernel/ns_last_pid", "w", encoding="ascii") as file:
        file.write(str(pid - 1))


def _spawn_with_pid(pid: int, body: str, family: Family) -> ProcessAdapter:
    """Start a program under a pid that was used before. In a pid namespace of our own: nobody else takes the number."""

    def is_free() -> bool:  # a process vanishes from /proc a moment before its number is given back
        _make_next(pid)
        probe = spawn(["true"], env=PLAIN)
        os.waitpid(probe, 0)
        return probe == pid

    until(is_free)
    _make_next(pid)
    process = _start(body, family)
    assert process.pid == pid
    return process


def _stranger_after_the_leader_ended() -> bool:
    """Terminate an ended process whose pid a stranger has now; return whether the stranger lives."""
    with Family() as ours, Family() as theirs:
        process = _start("report()", ours)
        assert process.wait(PATIENCE) == 0
        stranger = _spawn_with_pid(process.pid, LIKE_TORCHRUN, theirs)
        members = theirs.members(LIKE_TORCHRUN_SIZE)

        process.send_signal(signal.SIGKILL)
        process.terminate(grace=0.01)

        alive = all(member.alive for member in members)
        stranger.terminate()
        return alive


def _stranger_after_the_kernel_reaped_the_leader() -> bool:
    """Do the same where nobody has asked for the exit yet, and SIGCHLD is ignored."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with Family() as ours, Family() as theirs:
        process = _start("report()", ours)
        assert ours.is_gone()
        until(lambda: state(process.pid) is None)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        stranger = _spawn_with_pid(process.pid, LIKE_TORCHRUN, theirs)
        members = theirs.members(LIKE_TORCHRUN_SIZE)

        process.terminate(grace=0.01)

        alive = all(member.alive for member in members)
        stranger.terminate()
        return alive


def _ended_stranger_after_the_kernel_reaped_the_leader() -> bool:
    """Do the same where the stranger is a child of ours too, and has ended, with a child of its own left behind."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with Family() as ours, Family() as theirs:
        process = _start("report()", ours)
        assert ours.is_gone()
        until(lambda: state(process.pid) is None)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        stranger = _spawn_with_pid(process.pid, LEAVES_A_NAMELESS_MEMBER, theirs)
        (child,) = theirs.members(1)
        until(lambda: (state(stranger.pid) or ("", 0))[0] == "Z")

        process.terminate(grace=0.01)

        alive = child.alive
        assert stranger.wait(PATIENCE) == 0  # nobody took its exit
        stranger.terminate()
        return alive


def _stranger_after_the_session_emptied() -> bool:
    """Do the same where the leader left a member, which ended unseen: the session is a stranger's now."""
    with Family() as ours, Family() as theirs:
        process = _start(LEAVES_A_NAMELESS_MEMBER, ours)
        (member,) = ours.members(1)
        assert process.wait(PATIENCE) == 0
        _kill_and_reap(member)
        # The stranger's child has neither cookie nor environment: only the session's number speaks for it.
        stranger = _spawn_with_pid(process.pid, LEAVES_A_NAMELESS_MEMBER, theirs)
        (child,) = theirs.members(1)
        assert os.getsid(child.pid) == process.pid

        process.terminate(grace=0.01)

        alive = child.alive
        stranger.terminate()
        return alive


def _kill_and_reap(orphan: Member) -> None:
    os.kill(orphan.pid, signal.SIGKILL)
    os.waitpid(orphan.pid, 0)  # we are pid 1 here: orphans are ours


@pytest.mark.parametrize(
    "scene",
    [
        _stranger_after_the_leader_ended,
        _stranger_after_the_kernel_reaped_the_leader,
        _ended_stranger_after_the_kernel_reaped_the_leader,
        _stranger_after_the_session_emptied,
    ],
)
def test_terminate_after_the_pid_was_reused_kills_no_stranger(scene: Callable[[], bool]) -> None:
    prefix = own_pid_namespace()
    if not prefix:
        pytest.skip("this kernel gives us no pid namespace to reuse pids in")

    assert Apart(prefix=prefix).run(scene)
