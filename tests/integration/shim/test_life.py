"""A shim's own life: its run file, its keeper's death, its own end, and what is imposed on its leader."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.hanging import hung_program
from support.shim import RUN, TOKEN, OneShim
from support.waiting import PATIENCE, until

from farspawn_core import Phase, cgroup, shim
from farspawn_core.shim import Stage

NOBODY = (65534, 65534, (65534,))


def test_an_exit_is_held_until_it_is_forgotten(tmp_path: Path) -> None:
    with OneShim(tmp_path, ["sh", "-c", "exit 7"]) as run:
        over = run.until("over")

        assert (over.stage, os.waitstatus_to_exitcode(over.status)) == (Stage.ENDED, 7)
        assert run.forget() == 0


@contextlib.contextmanager
def next_keeper(run: OneShim, state: Path) -> Iterator[None]:
    """Listen where the next keeper does, until the shim has dialled; from then on `run` speaks through that link."""
    here = os.getcwd()
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        os.chdir(state)
        listener.bind("keeper.sock")
        os.chdir(here)
        listener.listen()
        listener.settimeout(PATIENCE)
        run.link, _ = listener.accept()
        run.report = None
        yield


def test_it_dials_the_next_keeper_and_tells_all_it_knows(tmp_path: Path) -> None:
    with OneShim(tmp_path, ["sh", "-c", "echo up; cat; exit 5"], open_input=True) as run:
        pid = run.until("running").pid
        run.link.close()
        with next_keeper(run, tmp_path):
            again = run.until("running")

            assert run.hello is not None
            assert (run.hello.run, run.hello.token, again.pid) == (RUN, TOKEN, pid)
            run.send(shim.write(1, 0, b"", end=True))
            assert os.waitstatus_to_exitcode(run.until("over").status) == 5


def test_an_exit_while_no_keeper_lives_is_told_to_the_next(tmp_path: Path) -> None:
    script = "while [ ! -e go ]; do :; done; exit 9"
    with OneShim(tmp_path, ["sh", "-c", script], cwd=str(tmp_path)) as run:
        run.until("running")
        (tmp_path / "go").touch()
        run.link.close()
        with next_keeper(run, tmp_path):
            assert os.waitstatus_to_exitcode(run.until("over").status) == 9


def test_a_shim_whose_run_is_over_and_whose_state_directory_is_gone_ends(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    with OneShim(state, ["true"]) as run:
        run.until("over")
        run.link.close()

        shutil.rmtree(state)

        assert run.wait() == 0


def test_a_shim_whose_run_is_over_and_whose_run_file_is_gone_ends(tmp_path: Path) -> None:
    """Its task was deleted, and the keeper died before it could say so."""
    with OneShim(tmp_path, ["true"]) as run:
        run.until("over")
        run.link.close()

        (tmp_path / "logs" / "run").unlink()

        assert run.wait() == 0


@pytest.mark.parametrize("content", [b"x", bytes(24)])
def test_a_run_file_that_is_not_empty_is_somebody_elses_run(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "run").write_bytes(content)
    with OneShim(tmp_path, ["touch", str(tmp_path / "ran")]) as run:
        assert os.waitstatus_to_exitcode(run.wait()) == 1
        assert not (tmp_path / "ran").exists()


def test_a_second_shim_on_one_run_file_ends_at_once(tmp_path: Path) -> None:
    with OneShim(tmp_path, ["sleep", "600"]) as first:
        first.until("running")
        with OneShim(tmp_path, ["touch", str(tmp_path / "ran")]) as second:
            assert os.waitstatus_to_exitcode(second.wait()) == 1
            assert not (tmp_path / "ran").exists()


def test_nothing_that_a_stranger_may_send_ends_a_shim(tmp_path: Path) -> None:
    with OneShim(tmp_path, ["sleep", "600"]) as run:
        run.until("running")
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGPIPE, signal.SIGUSR1, signal.SIGSEGV):
            os.kill(run.pid, number)

        run.send(shim.members(3))

        assert isinstance(run.answer(), shim.Members)


def test_a_start_that_hangs_can_be_killed(tmp_path: Path) -> None:
    with hung_program(tmp_path / "hung") as hung, OneShim(tmp_path, [hung.path]) as run:
        run.send(shim.kill())

        over = run.until("over")
        assert (over.stage, os.WTERMSIG(over.status)) == (Stage.ENDED, signal.SIGKILL)


@pytest.mark.parametrize(
    ("argv", "fields", "error", "step", "path"),
    [
        (["no-such-program"], {}, errno.ENOENT, Phase.PROGRAM, "no-such-program"),
        (["/etc/passwd"], {"programs": ["/etc/passwd"]}, errno.EACCES, Phase.PROGRAM, "/etc/passwd"),
        (["true"], {"cwd": "/no/such"}, errno.ENOENT, Phase.WORKING_DIRECTORY, "/no/such"),
        (["true"], {"directories": ["/usr"]}, errno.EACCES, Phase.WORKING_DIRECTORY, "/"),
        (["true"], {"sha256": "0" * 64}, errno.EKEYREJECTED, Phase.PROGRAM, os.path.realpath("/bin/true")),
        (["true"], {"oom_score_adj": 5000}, errno.EINVAL, Phase.CONFINEMENT, "oom_score_adj"),
    ],
)
def test_why_nothing_was_started_is_told(
    argv: list[str], fields: dict[str, Any], error: int, step: Phase, path: str, tmp_path: Path
) -> None:
    with OneShim(tmp_path, argv, **fields) as run:
        over = run.until("over")

        assert (over.stage, over.error, over.step, over.path) == (Stage.FAILED, error, step, path)


def test_an_interpreter_that_is_not_there_is_told_as_a_failure_to_execute(tmp_path: Path) -> None:
    script = tmp_path / "job.sh"
    script.write_text("#!/no/such/interpreter\n")
    script.chmod(0o755)
    with OneShim(tmp_path, [str(script)]) as run:
        over = run.until("over")

        assert (over.stage, over.error, over.step, over.path) == (Stage.FAILED, errno.ENOENT, Phase.SPAWN, str(script))


@pytest.mark.parametrize("size", [0, 1, 55, 56, 63, 64, 65, 119, 120, 128, 65536, 65537, 1_000_003])
def test_a_pinned_program_of_any_size_is_known_by_its_hash(size: int, tmp_path: Path) -> None:
    program = tmp_path / "program"
    content = (b"#!/bin/sh\nexit 4\n#" + os.urandom(size).hex().encode())[: max(size, 17)]
    program.write_bytes(content)
    program.chmod(0o755)
    with OneShim(tmp_path, [str(program)], sha256=hashlib.sha256(content).hexdigest()) as run:
        over = run.until("over")

        assert (over.stage, over.error) == (Stage.ENDED, 0)


def test_a_leader_has_what_was_imposed_on_it_and_nothing_of_ours(tmp_path: Path) -> None:
    script = (
        "import os, resource as r, signal\n"
        "status = dict(l.split(':\\t') for l in open('/proc/self/status').read().splitlines() if ':\\t' in l)\n"
        "print(sorted(os.listdir('/proc/self/fd'))[:4], os.getsid(0) == os.getpid(), oct(os.umask(0)))\n"
        "print(open('/proc/self/oom_score_adj').read().strip(), os.nice(0), os.getcwd(), dict(os.environ)['ONLY'])\n"
        "print(r.getrlimit(r.RLIMIT_NOFILE), r.getrlimit(r.RLIMIT_CPU), r.getrlimit(r.RLIMIT_NPROC))\n"
        "print(status['SigBlk'].strip(), int(status['SigIgn'], 16) & ~(3 << 31) & ~(1 << 12 | 1 << 24))\n"
    )
    with OneShim(
        tmp_path,
        ["python3", "-S", "-E", "-c", script],
        env={"ONLY": "this", "PATH": "/usr/bin:/bin"},
        cwd="/usr",
        mask=0o027,
        oom_score_adj=321,
        niceness=3,
        files=(64, 128),
        cpu_seconds=100,
        processes=5000,
    ) as run:
        run.until("over")

        assert run.output("stderr") == b""
        assert run.output().decode().splitlines() == [
            "['0', '1', '2', '3'] True 0o27",  # 3 is the listing itself
            f"321 {os.nice(0) + 3} /usr this",
            "(64, 128) (100, 101) (5000, 5000)",
            "0000000000000000 0",
        ]


def test_another_user_has_no_way_back_and_a_keyring_of_its_own(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root, to run something as another user")
    script = "id -u; id -g; id -G; grep -E 'CapPrm|NoNewPrivs' /proc/self/status | tr '\\n\\t' '  '"
    with OneShim(tmp_path, ["sh", "-c", script], user=(65534, 65534, (65534, 7))) as run:
        run.until("over")

        assert run.output().decode().split() == [
            *("65534", "65534", "65534", "7", "CapPrm:", "0000000000000000", "NoNewPrivs:", "1")
        ]


def test_an_input_takes_what_fits_and_says_how_far_it_came(tmp_path: Path) -> None:
    with OneShim(tmp_path, ["sh", "-c", "sleep 600"], open_input=True) as run:
        run.send(shim.write(1, 0, bytes(65536), end=False))
        assert run.answer() == shim.Taken(1, closed=False, offset=65536)
        run.send(shim.write(2, 65536, bytes(100), end=False))  # the pipe is full: it waits
        run.send(shim.write(3, 70000, b"", end=False))  # something between is missing: our offset says so

        assert run.answer() == shim.Taken(3, closed=False, offset=65536)

        run.send(shim.write(4, 65536, b"x", end=False))  # takes the place of the one that waits
        assert run.answer() == shim.Taken(2, closed=False, offset=65536)


def test_the_end_of_an_input_can_be_repeated(tmp_path: Path) -> None:
    with OneShim(tmp_path, ["sh", "-c", "cat; sleep 600"], open_input=True) as run:
        run.send(shim.write(1, 0, b"all", end=True))
        run.send(shim.write(2, 0, b"all", end=True))
        run.send(shim.write(3, 3, b"more", end=True))

        assert [run.answer() for _ in range(3)] == [
            shim.Taken(1, closed=False, offset=3),
            shim.Taken(2, closed=False, offset=3),
            shim.Taken(3, closed=True, offset=3),
        ]


def test_a_message_that_is_no_message_is_passed_over(tmp_path: Path) -> None:
    with OneShim(tmp_path, ["sleep", "600"]) as run:
        run.until("running")
        for garbage in (b"\0", b"\xff" * 8, b"\x44" + bytes(10), bytes([68, 1, 0, 0, 1, 0, 0, 0]) + b"\xff" * 16):
            run.send(garbage)

        run.send(shim.members(3))

        assert isinstance(run.answer(), shim.Members)


def test_a_leader_that_makes_its_parent_its_tracer_is_not_taken_for_ended(tmp_path: Path) -> None:
    script = (
        "import ctypes, os, signal\n"
        "ctypes.CDLL(None).ptrace(0, 0, None, None)\n"  # PTRACE_TRACEME
        "signal.signal(signal.SIGUSR1, lambda *_: None)\n"
        "os.kill(os.getpid(), signal.SIGUSR1)\n"
        "print('went on', flush=True)\n"
        "os._exit(6)\n"
    )
    with OneShim(tmp_path, ["python3", "-c", script]) as run:
        over = run.until("over")

        assert (over.stage, os.waitstatus_to_exitcode(over.status)) == (Stage.ENDED, 6)
        assert run.output() == b"went on\n"


def test_a_failure_with_the_longest_path_is_told_as_one(tmp_path: Path) -> None:
    path = "/" + "x/" * 2040 + "program"
    with OneShim(tmp_path, [path], programs=[path]) as run:
        over = run.until("over")

        assert (over.stage, over.error, over.step) == (Stage.FAILED, errno.ENOENT, Phase.PROGRAM)
        assert path.startswith(over.path)
        assert len(over.path) > 4000


def test_a_run_of_which_only_the_leader_has_ended_is_not_looked_at_again_and_again(tmp_path: Path) -> None:
    home = cgroup.home()
    if home is None:
        pytest.skip("needs a cgroup (v2) that we may divide: be root, or have one delegated")
    group = cgroup.make(home, f"quiet-{os.getpid()}")
    assert group is not None
    with OneShim(tmp_path, ["sh", "-c", "sleep 600 & exit 0"], group=Path(group.path)) as run:
        run.until("ended")
        until(lambda: _state(run.pid) == "S")
        before = _switches(run.pid)

        began = _uptime()
        until(lambda: _uptime() > began + 0.5)

        assert _switches(run.pid) - before < 10
    group.remove()


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def _uptime() -> float:
    return float(Path("/proc/uptime").read_text().split()[0])


def _switches(pid: int) -> int:
    """Return how often a process has gone to sleep."""
    found = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return int(found["voluntary_ctxt_switches"])
