"""What a task of the agent's own user does to shims, and says to the keeper: no other run notices."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from support.confined import AS_NOBODY, why_not
from support.keeper import ServedKeeper
from support.processes import is_alive, state
from support.waiting import until

from farspawn_core import proc
from farspawn_server.keeper.messages import Kill, Signal

VICTIM = "victim/1"

# Dials as a shim of the victim would, and reports its end. It may do what the agent's own user may: read the key.
FORGES = """
import hmac, os, socket, struct, sys
run, state = sys.argv[1], sys.argv[2]
os.chdir(state)
key = bytes(32) if sys.argv[3] == "guessed" else open("keeper.key", "rb").read()
head = struct.pack("<BBHI", 1, 1, 0, 0)
token = hmac.digest(key, run.encode(), "sha256")
report = struct.pack("<IIiiiI3q3Q4QiI", 3, 0, 1, 0, 0, 0, 1, 1, 1, *[0] * 3, *[0] * 4, 0, 0)
dialled = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
dialled.connect("keeper.sock")
dialled.send(head + token + struct.pack("96s", run.encode()) + report)
print("refused" if dialled.recv(1) == b"" else "believed", flush=True)
"""


# Becomes a shim itself. Nobody is at the other end of its socket, so it dials.
STARTS_A_SHIM = """
import hmac, os, socket, sys
from farspawn_core import shim, shim_binary
os.chdir(sys.argv[1])
token = hmac.digest(open("keeper.key", "rb").read(), b"never/1", "sha256")
order = shim.Order(
    run="never/1", token=token, run_file="logs/never.1", prefix="logs/never.1", programs=["/bin/sh"],
    argv=["sh", "-c", "echo ran; sleep 600"], env={}, cwd="/",
)
ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
ours.close()
written = os.memfd_create("order")
os.write(written, shim.encode(order))
given = [os.dup(each) for each in (written, theirs.fileno())]
for target, source in enumerate(given, 3):
    os.dup2(source, target)
os.execv(shim_binary.path(), ["farspawn-shim", "never/1"])
"""


HIDES_PROC = ("unshare", "--mount", "sh", "-c", 'mount -t proc -o hidepid=2 proc /proc && exec "$@"', "sh", *AS_NOBODY)


@pytest.fixture
def victim(keeper: ServedKeeper) -> int:
    keeper.spawn(VICTIM, ["sleep", "600"])
    return keeper.until_started(VICTIM).pid


def still_runs(keeper: ServedKeeper, pid: int) -> bool:
    """Whether the victim does, by the keeper's word and in fact."""
    keeper.spawn(VICTIM, ["true"])
    keeper.spawn("probe/1", ["true"])
    keeper.until_over("probe/1")
    held = keeper.told[VICTIM]
    return held.alive and held.ended is None and held.pid == pid and state(pid) is not None


@pytest.mark.parametrize("key", ["guessed", "read"])
def test_a_task_cannot_tell_anothers_exit(keeper: ServedKeeper, victim: int, key: str) -> None:
    keeper.spawn("forger/1", [sys.executable, "-I", "-S", "-c", FORGES, VICTIM, str(keeper.directory), key])
    keeper.until_over("forger/1")

    assert keeper.output("forger/1") == "refused\n"
    assert still_runs(keeper, victim)


@pytest.mark.parametrize("key", ["guessed", "read"])
def test_a_task_cannot_claim_a_run_that_nobody_holds(keeper: ServedKeeper, key: str) -> None:
    """Not even by holding its file: the forger's own shim is above it."""
    holds = "import fcntl; made = open('logs/never.1', 'w'); fcntl.lockf(made, fcntl.LOCK_EX)\n"
    program = FORGES.replace("key =", f"{holds}key =", 1)
    keeper.spawn("forger/1", [sys.executable, "-I", "-S", "-c", program, "never/1", str(keeper.directory), key])
    keeper.until_over("forger/1")

    assert keeper.output("forger/1") == "refused\n"
    assert "never/1" not in keeper.told


def test_a_shim_that_a_task_has_started_is_refused(keeper: ServedKeeper) -> None:
    """The real one, with an order, a token and a run file as ours have them: but there is a shim above it."""
    keeper.spawn("forger/1", [sys.executable, "-P", "-c", STARTS_A_SHIM, str(keeper.directory)])

    until(lambda: "caller is no shim of ours" in keeper.log)
    until(lambda: keeper.output("never/1") == "ran\n")
    keeper.spawn("probe/1", ["true"])
    keeper.until_over("probe/1")
    assert "never/1" not in keeper.told
    keeper.order(Kill("forger/1"))
    assert keeper.until_over("forger/1").ended


def test_somebody_outside_of_any_task_needs_the_file_too(keeper: ServedKeeper, victim: int) -> None:
    program = [sys.executable, "-I", "-S", "-c", FORGES, VICTIM, str(keeper.directory), "read"]

    assert subprocess.run(program, capture_output=True, check=True).stdout == b"refused\n"
    assert still_runs(keeper, victim)


def test_a_killed_shim_loses_its_run_alone_and_what_it_ran_is_ended(keeper: ServedKeeper, victim: int) -> None:
    keeper.spawn("loses/1", ["sh", "-c", "setsid sleep 600 & (setsid sleep 600 &) ; sleep 600"])
    leader = keeper.until_started("loses/1").pid
    shim = proc.read(leader)
    assert shim is not None
    until(lambda: len(descendants(shim.parent)) == 4)
    below = descendants(shim.parent)

    os.kill(shim.parent, signal.SIGKILL)

    over = keeper.until_over("loses/1")
    assert over.lost
    assert over.ended is None
    assert over.pid == leader
    assert not any(is_alive(*key) for key in below)
    assert still_runs(keeper, victim)


def test_a_killed_shim_of_an_earlier_keeper_loses_its_run_alone(directory: Path) -> None:
    first = ServedKeeper(directory)
    first.spawn("loses/1", ["sleep", "600"])
    leader = proc.read(first.until_started("loses/1").pid)
    assert leader is not None
    first.kill()

    with ServedKeeper(directory) as keeper:
        keeper.until_started("loses/1")
        os.kill(leader.parent, signal.SIGKILL)
        over = keeper.until_over("loses/1")

    assert over.lost
    assert not is_alive(*leader.key)


def test_a_shim_killed_after_the_end_takes_nothing_with_it(keeper: ServedKeeper) -> None:
    keeper.spawn("task/1", ["sh", "-c", "exit 3"])
    keeper.until_over("task/1")
    (shim,) = keeper.shims()

    os.kill(shim, signal.SIGKILL)
    until(lambda: not keeper.shims())
    keeper.spawn("task/1", ["true"])

    over = keeper.until_over("task/1")
    assert over.ended is not None
    assert (over.ended.code, over.lost) == (3, False)


@pytest.mark.parametrize("of_earlier", [False, True], ids=["own", "of an earlier keeper"])
def test_a_stopped_shim_is_continued(directory: Path, *, of_earlier: bool) -> None:
    keeper = ServedKeeper(directory)
    keeper.spawn("task/1", ["sleep", "600"])
    leader = keeper.until_started("task/1").pid
    shim = proc.read(leader)
    assert shim is not None
    if of_earlier:
        keeper.kill()
        keeper = ServedKeeper(directory)
        keeper.until_started("task/1")
    with keeper:
        os.kill(shim.parent, signal.SIGSTOP)

        keeper.order(Signal(1, "task/1", signal.SIGTERM, tree=False))

        ended = keeper.until_over("task/1").ended
    assert ended is not None
    assert ended.signal == signal.SIGTERM


def test_a_shim_stopped_before_the_next_keeper_came_is_continued(directory: Path) -> None:
    first = ServedKeeper(directory)
    first.spawn("task/1", ["sleep", "600"])
    shim = proc.read(first.until_started("task/1").pid)
    assert shim is not None
    os.kill(shim.parent, signal.SIGSTOP)
    os.kill(first.pid, signal.SIGSTOP)  # so that it cannot continue it
    os.kill(shim.parent, signal.SIGSTOP)
    first.kill()

    with ServedKeeper(directory) as keeper:
        keeper.spawn("task/1", ["true"])
        assert keeper.until_started("task/1").pid == shim.pid
        keeper.order(Kill("task/1"))
        assert keeper.until_over("task/1").ended


def test_whoever_dials_and_says_nothing_keeps_no_shim_out(keeper: ServedKeeper, victim: int) -> None:
    dialled = []
    for _ in range(100):
        dialled.append(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET))
        dialled[-1].connect(f"/proc/{keeper.pid}/cwd/keeper.sock")

    keeper.reload()

    assert keeper.until_started(VICTIM).pid == victim
    for each in dialled:
        each.close()


def test_whoever_is_let_go_and_speaks_in_the_same_moment_does_no_harm(keeper: ServedKeeper, victim: int) -> None:
    """The oldest of those who say nothing goes for a new one: here both are heard of in one turn."""
    dialled = []

    def dial() -> socket.socket:
        dialled.append(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET))
        dialled[-1].connect(f"/proc/{keeper.pid}/cwd/keeper.sock")
        return dialled[-1]

    silent = [dial() for _ in range(8)]
    assert still_runs(keeper, victim)
    os.kill(keeper.pid, signal.SIGSTOP)
    until(lambda: (state(keeper.pid) or ("", 0))[0] == "T")
    dial()
    silent[0].send(b"x" * 200)
    os.kill(keeper.pid, signal.SIGCONT)

    assert still_runs(keeper, victim)
    for each in dialled:
        each.close()


def test_what_calls_itself_a_shim_is_ended_with_the_shim_above_it(keeper: ServedKeeper) -> None:
    """Also over a reload, in which the keeper has to tell its shims from what has fallen to it."""
    named = keeper.directory / "farspawn-shim"
    shutil.copy("/bin/sleep", named)
    keeper.spawn("loses/1", ["sh", "-c", f"({named} 600 &); exec sleep 600"])
    leader = keeper.until_started("loses/1").pid
    shim = proc.read(leader)
    assert shim is not None
    until(lambda: len(descendants(shim.parent)) == 2)
    below = descendants(shim.parent)

    keeper.reload()
    keeper.until_started("loses/1")
    os.kill(shim.parent, signal.SIGKILL)

    assert keeper.until_over("loses/1").lost
    assert not any(is_alive(*key) for key in below)


def test_what_a_bystander_leaves_behind_outlives_a_killed_shim(directory: Path) -> None:
    """One is a child that the keeper's process had before it was a keeper; as pid 1 it inherits from strangers too."""
    gate = directory / "gate"
    os.mkfifo(gate)
    leaves = f'(read _ <{gate}; sleep 600 & echo $! >{directory}/left) & exec "$@"'
    with ServedKeeper(directory, through=["sh", "-c", leaves, "sh"]) as keeper:
        gate.write_text("\n")
        left = int(until(lambda: (directory / "left").exists() and (directory / "left").read_text()))
        until(lambda: left in proc.children(keeper.pid))
        for _ in range(2):
            keeper.until_asked()
        keeper.spawn("loses/1", ["sleep", "600"])
        shim = proc.read(keeper.until_started("loses/1").pid)
        assert shim is not None

        os.kill(shim.parent, signal.SIGKILL)

        assert keeper.until_over("loses/1").lost
        assert (state(left) or ("Z", 0))[0] == "S"
        os.kill(left, signal.SIGKILL)


def test_shims_are_believed_where_proc_hides_them(directory: Path) -> None:
    """As with ProtectProc=invisible for an agent that is not root: a shim may not be looked into by its own user."""
    if reason := why_not(HIDES_PROC):
        pytest.skip(f"cannot hide processes here: {reason}")
    directory.chmod(0o777)
    killed = ServedKeeper(directory, through=HIDES_PROC)
    killed.spawn("task/1", ["sleep", "600"])
    pid = killed.until_started("task/1").pid
    killed.kill()

    with ServedKeeper(directory, through=HIDES_PROC) as keeper:
        assert keeper.until_started("task/1").pid == pid
        keeper.order(Kill("task/1"))
        assert keeper.until_over("task/1").ended


def descendants(pid: int) -> list[tuple[int, int]]:
    found = [process for child in proc.children(pid) if (process := proc.read(child)) is not None]
    return [process.key for process in found] + [key for process in found for key in descendants(process.pid)]
