"""Everything a task started is found and ended, however it hides; what it did not start is left alone."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import sys
import uuid
from pathlib import Path

import pytest
from support.apart import apart, give_up_root
from support.processes import (
    FORK_BOMB,
    LEAVES_A_NAMELESS_MEMBER,
    LIKE_TORCHRUN,
    LIKE_TORCHRUN_SIZE,
    PLAIN,
    STAYS,
    STAYS_BESIDE_ITS_DAEMON,
    Family,
    exit_code_of,
    python_program,
)
from support.waiting import PATIENCE, until

from farspawn_core import ProcessAdapter, proc, spawn_process
from farspawn_core.adapter import COOKIE
from farspawn_core.tree import Tree, send_all, strike

_MARK = "FARSPAWN_TEST_TREE"


def _start(body: str, family: Family) -> tuple[ProcessAdapter, Tree]:
    mark = uuid.uuid4().hex  # the trees of tests that run beside this one are strangers
    process = spawn_process(python_program(body), {**PLAIN, _MARK: mark}, descriptors=family.descriptors)
    return process, Tree(process.pid, cookie=(_MARK, mark))


def _strike_until_empty(tree: Tree) -> None:
    until(lambda: not strike(tree.members))


def test_members_are_the_leader_and_all_its_descendants(family: Family) -> None:
    _, tree = _start(LIKE_TORCHRUN, family)
    reported = {member.pid for member in family.members(LIKE_TORCHRUN_SIZE)}

    found = tree.members()
    _strike_until_empty(tree)

    assert {process.pid for process in found} == reported
    assert found[0].pid == tree.leader


def test_an_orphan_of_another_session_is_a_member_by_its_cookie(family: Family) -> None:
    _, tree = _start(STAYS_BESIDE_ITS_DAEMON, family)
    daemon = next(member for member in family.members(2) if member.word == "daemon")
    assert daemon.pid not in proc.children(tree.leader)

    found = {process.pid for process in tree.members()}
    _strike_until_empty(tree)

    assert daemon.pid in found
    assert family.is_gone()


def test_the_tree_of_another_cookie_is_left_alone(family: Family) -> None:
    with Family() as theirs:
        _, tree = _start(STAYS_BESIDE_ITS_DAEMON, family)
        _, their_tree = _start(STAYS_BESIDE_ITS_DAEMON, theirs)
        family.members(2)
        members = theirs.members(2)

        _strike_until_empty(tree)

        assert all(member.alive for member in members)
        _strike_until_empty(their_tree)


def test_what_the_leader_left_in_its_session_is_a_member_even_without_the_cookie(family: Family) -> None:
    process, tree = _start(LEAVES_A_NAMELESS_MEMBER, family)
    (member,) = family.members(1)
    assert proc.environment_value(member.pid, _MARK) is None
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)

    left = tree.leader_ended()
    process.poll()  # reaps
    _strike_until_empty(tree)

    assert [one.pid for one in left] == [member.pid]
    assert family.is_gone()


# A program inside the task that uses this very core, passes its environment on, and ends before what it started.
_NESTED = """
import json, os
from farspawn_core import spawn_process
spawn_process(json.loads(os.environ["PROGRAM"]), os.environ, descriptors=(0, 1, 2, 3))
os._exit(0)
"""


def test_what_a_task_started_with_this_core_is_in_the_tasks_tree_too(family: Family) -> None:
    inner = json.dumps(python_program(STAYS))
    process = spawn_process(
        [sys.executable, "-c", _NESTED], {**PLAIN, "PROGRAM": inner}, descriptors=family.descriptors
    )
    (member,) = family.members(1)
    assert process.wait(PATIENCE) == 0
    assert (proc.environment_value(member.pid, COOKIE) or "").count("/") == 1

    process.terminate()

    assert family.is_gone()


def test_a_leader_that_was_never_found_has_no_tree() -> None:
    tree = Tree(0, cookie=(_MARK, uuid.uuid4().hex))

    assert tree.members() == []
    assert tree.leader_ended() == []
    assert tree.members() == []


def test_the_session_of_a_leader_that_is_not_the_one_we_mean_is_left_alone(family: Family) -> None:
    process = spawn_process(python_program("child(); report(); stay()"), PLAIN, descriptors=family.descriptors)
    family.members(2)
    leader = proc.read(process.pid)
    assert leader is not None

    mistaken = Tree(process.pid, cookie=(_MARK, uuid.uuid4().hex), start_time=leader.start_time - 1).members()
    right = Tree(process.pid, cookie=(_MARK, uuid.uuid4().hex), start_time=leader.start_time).members()
    process.kill()

    assert mistaken == []
    assert len(right) == 2


def test_a_strike_meant_for_nobody_says_so(family: Family) -> None:
    process, tree = _start(STAYS, family)
    family.members(1)
    assert [target.pid for target in strike(tree.members)] == [process.pid]
    process.wait(PATIENCE)

    assert strike(tree.members) == []


def test_a_fork_bomb_is_ended_while_it_grows(family: Family, tmp_path: Path) -> None:
    counter = tmp_path / "counter"
    counter.touch()
    bomb = python_program(FORK_BOMB, str(counter))
    process = spawn_process(bomb, PLAIN, descriptors=family.descriptors)
    until(lambda: counter.stat().st_size > 20)

    assert process.terminate() == []
    assert family.is_gone()


def _terminate_with_few_descriptors(counter: str) -> list[object]:
    """End more processes than this one may open descriptors."""
    with Family() as family:
        process = spawn_process(python_program(FORK_BOMB, counter), PLAIN, descriptors=family.descriptors)
        family.members(200)
        resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))
        return [len(process.terminate(grace=0.01)), family.is_gone()]


def test_a_tree_larger_than_our_limit_of_descriptors_is_ended(tmp_path: Path) -> None:
    counter = tmp_path / "counter"
    counter.touch()

    assert apart.run(_terminate_with_few_descriptors, str(counter)) == [0, True]


# The environment of a process whose program may be executed but not read belongs to root, by ptrace(2)'s rules.
_HIDES_ITS_ENVIRONMENT = """
"$1" 600 &
echo "$! $(cut -d" " -f22 /proc/$!/stat) hidden" >&3
"""


def _terminate_what_may_not_be_read(unreadable: str) -> list[object]:
    give_up_root()
    with Family() as family:
        hiding = ["sh", "-c", _HIDES_ITS_ENVIRONMENT, "sh", unreadable]
        process = spawn_process(hiding, PLAIN, descriptors=family.descriptors)
        (member,) = family.members(1)
        code = process.wait(PATIENCE)
        until(lambda: proc.environment_value(member.pid, COOKIE) is None)
        alive = member.alive
        process.terminate()
        return [code, alive, family.is_gone()]


def test_a_process_whose_environment_may_not_be_read_is_a_member_by_its_session(public_path: Path) -> None:
    unreadable = public_path / "unreadable"
    shutil.copy("/bin/sleep", unreadable)
    unreadable.chmod(0o111)

    assert apart.run(_terminate_what_may_not_be_read, str(unreadable)) == [0, True, True]


def _signal_what_belongs_to_root() -> list[object]:
    stranger = proc.read(os.getppid())
    assert stranger is not None
    give_up_root()
    try:
        proc.send(stranger, 0)
    except PermissionError:
        return ["refused", send_all([stranger], 0)]
    return ["allowed", send_all([stranger], 0)]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs processes of two users")
def test_a_process_that_we_may_not_signal_counts_as_not_reached() -> None:
    assert apart.run(_signal_what_belongs_to_root) == ["refused", 0]


def test_processes_that_end_while_they_are_looked_at_disturb_nothing(family: Family) -> None:
    churn = "report()\nwhile True:\n    if child():\n        os._exit(0)\n    os.wait()\n"
    process, tree = _start(churn, family)
    family.members(1)

    looks = [tree.members() for _ in range(50)]
    process.terminate()

    assert all(process.pid in {member.pid for member in look} for look in looks)
    assert exit_code_of(["true"]) == 0
    assert process.poll() == -signal.SIGKILL
