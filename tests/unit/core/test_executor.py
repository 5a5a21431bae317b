"""The program between us and a confined one: nothing of the task acts on it, nothing of it is left in the task."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
from support import atfork
from support.apart import Apart, apart
from support.hanging import HungProgram, hung_program
from support.processes import PLAIN, exit_code_of, output_of
from support.waiting import until

from farspawn_core import Confinement, SpawnError, executor, proc, spawn
from farspawn_core.cgroup import Cgroup

LIMITED = Confinement(open_files=1000)
_GLIBC_INTERNAL = {32, 33}  # sigfillset(3) leaves these two out: harmless


def refusal(argv: list[str], cwd: str = "/", confinement: Confinement = LIMITED) -> tuple[str, str, str]:
    with pytest.raises(SpawnError) as caught:
        spawn(argv, env=PLAIN, cwd=cwd, confinement=confinement)
    error = caught.value
    return errno.errorcode[error.errno or 0], error.phase.name, error.filename


class Starting:
    """A confined start that hangs where its executor executes the program."""

    def __init__(self, hung: HungProgram, pool: ThreadPoolExecutor, **env: str) -> None:
        self.hung = hung
        self.result: Future[int] = pool.submit(
            spawn, [hung.path, "argument-secret"], env={**PLAIN, **env}, cwd="/", confinement=LIMITED
        )
        hung.until_executing()
        (self.pid,) = until(lambda: [pid for pid in proc.children(os.getpid()) if is_executor(pid)])

    def exit_code(self) -> int:
        self.hung.let_go()
        pid = self.result.result()
        assert pid == self.pid
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def is_executor(pid: int) -> bool:
    try:
        return b"executor_main.py" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.fixture
def hung(tmp_path: Path) -> Iterator[HungProgram]:
    with hung_program(tmp_path / "hung") as program:
        yield program


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as threads:
        yield threads


# What the program finds is what it would have found without.


def test_arguments_and_environment_arrive_unchanged() -> None:
    arguments = ["", "a b", "$HOME", "ä", "\udcff", "--", "\n"]
    env = {"A": "1=2", "EMPTY": "", "ANY": "\udcff\n", "PYTHONHOME": "/nowhere", "LC_ALL": "xx"}

    printed = output_of(["/usr/bin/printf", "%s\\0", *arguments], confinement=LIMITED)
    found = output_of(["/bin/cat", "/proc/self/environ"], env=env, confinement=LIMITED)

    assert printed == "".join(f"{argument}\0" for argument in arguments)
    assert found == "".join(f"{name}={value}\0" for name, value in env.items())


def test_a_megabyte_of_command_arrives() -> None:
    arguments = ["x" * 100_000] * 10
    env = {**PLAIN, "LARGE": "y" * 100_000}

    found = output_of(["sh", "-c", 'printf %s "$*$LARGE"', "sh", *arguments], env=env, confinement=LIMITED)

    assert len(found) == 10 * 100_000 + 9 + 100_000


def test_it_leads_a_session_in_its_directory(tmp_path: Path) -> None:
    pid, _name, _state, _parent, group, session = output_of(["cat", "/proc/self/stat"], confinement=LIMITED).split()[:6]
    found = output_of(["readlink", "/proc/self/cwd"], cwd=str(tmp_path), confinement=LIMITED)

    assert pid == group == session
    assert found.strip() == os.path.realpath(tmp_path)


def test_it_inherits_no_descriptor_of_the_executors() -> None:
    assert output_of(["ls", "/proc/self/fd"], confinement=LIMITED).split() == ["0", "1", "2", "3"]  # 3 is ls's own


@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_it_has_exactly_the_descriptors_that_were_given(count: int) -> None:
    null = os.open(os.devnull, os.O_RDWR)
    try:
        has = " && ".join(f"[ {'' if i < count else '! '}-e /proc/$$/fd/{i} ]" for i in range(8))
        pid = spawn(["sh", "-c", has], env=PLAIN, descriptors=[null] * count, confinement=LIMITED)
    finally:
        os.close(null)

    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def _status_with_everything_ignored_and_blocked() -> str:
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # the test has to reap
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    return output_of(["cat", "/proc/self/status"], confinement=LIMITED)


def test_its_signals_are_at_their_defaults() -> None:
    status = apart.run(_status_with_everything_ignored_and_blocked)
    fields = dict(line.split(":", 1) for line in status.splitlines())

    for name in ("SigIgn", "SigBlk"):
        numbers = {number for number in range(1, 65) if int(fields[name], 16) >> (number - 1) & 1}
        assert numbers - _GLIBC_INTERNAL == set()


# Nothing of the task acts before.


def test_what_the_task_preloads_is_not_loaded_into_the_executor() -> None:
    reading, writing = os.pipe()
    with open(reading, encoding="utf-8") as said:
        pid = spawn(
            ["/bin/true"], env={"LD_PRELOAD": "/nowhere.so"}, descriptors=(0, writing, writing), confinement=LIMITED
        )
        os.close(writing)
        text = said.read()
    os.waitpid(pid, 0)

    assert text.count("/nowhere.so") == 1  # ld.so complains in each program: this one was loaded into the task only


def test_nothing_secret_is_seen_of_the_executor(hung: HungProgram, pool: ThreadPoolExecutor) -> None:
    starting = Starting(hung, pool, TOKEN="environment-secret", FARSPAWN_TASK_UID="the-uid", LD_PRELOAD="/nowhere.so")

    command = Path(f"/proc/{starting.pid}/cmdline").read_bytes()
    environment = Path(f"/proc/{starting.pid}/environ").read_bytes()
    assert starting.exit_code() == 0

    assert b"secret" not in command + environment
    libraries = os.environ.get("LD_LIBRARY_PATH")
    own = [f"LD_LIBRARY_PATH={libraries}"] if libraries else []
    assert environment.decode().split("\0")[:-1] == ["FARSPAWN_TASK_UID=the-uid", *own]


def test_it_is_found_by_its_cookie_and_stays_the_same_process(hung: HungProgram, pool: ThreadPoolExecutor) -> None:
    starting = Starting(hung, pool, FARSPAWN_TASK_UID="the-uid")

    before = proc.read(starting.pid)

    assert proc.environment_value(starting.pid, "FARSPAWN_TASK_UID") == "the-uid"
    assert before is not None
    assert before.session == before.group == before.pid
    hung.let_go()
    starting.result.result()
    after = proc.read(starting.pid)
    assert after is not None
    assert after.key == before.key
    os.waitpid(starting.pid, 0)


def test_it_is_born_into_its_cgroup(tmp_path: Path) -> None:
    (tmp_path / "cgroup.procs").touch()

    found = output_of(["cat", f"{tmp_path}/cgroup.procs"], confinement=Confinement(cgroup=str(tmp_path)))

    assert found == "0"  # to the kernel: whoever wrote it


def test_a_cgroup_that_cannot_be_joined_stops_nobody() -> None:
    assert exit_code_of(["true"], confinement=Confinement(cgroup="/nowhere")) == 0


def test_the_limits_of_a_group_are_written_where_the_controllers_are(tmp_path: Path) -> None:
    group = Cgroup(tmp_path)
    (tmp_path / "memory.max").touch()

    group.limit(memory_bytes=1 << 20, processes=10)

    assert (tmp_path / "memory.max").read_text() == str(1 << 20)
    assert not (tmp_path / "pids.max").exists()


# What fails, and what is left then.


def test_each_failure_has_the_errno_and_phase_that_it_has_without(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.write_text("echo no program\n")
    broken = tmp_path / "broken"
    broken.write_text("#!/nowhere/interpreter\n")
    for path in (plain, broken):
        path.chmod(0o755)
    (tmp_path / "circle").symlink_to("circle")

    for argv, cwd in (
        (["/nowhere"], "/"),
        (["no-such-tool"], "/"),
        ([""], "/"),
        ([str(tmp_path)], "/"),
        (["/bin/true/tool"], "/"),
        ([str(tmp_path / "circle")], "/"),
        ([str(plain)], "/"),
        ([str(broken)], "/"),
        (["/bin/true", "x" * (1 << 18)], "/"),
        (["true"], "/nowhere"),
        (["true"], "/bin/true"),
    ):
        assert refusal(argv, cwd) == refusal(argv, cwd, Confinement())


def test_a_command_too_large_for_the_address_space_is_enomem_or_runs() -> None:
    argv = ["/bin/true", *["x" * 100_000] * 15]

    assert refusal(argv, confinement=Confinement(address_space_bytes=1 << 20))[1] == "SPAWN"


def test_an_interpreter_that_cannot_be_executed_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")

    assert refusal(["true"]) == ("ENOENT", "SPAWN", "/nowhere/python")


def test_an_interpreter_that_ends_before_it_executes_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    before = proc.children(os.getpid())  # of other tests in this process

    number, phase, _ = refusal(["true"])

    assert (number, phase) == ("EIO", "CONFINEMENT")
    assert proc.children(os.getpid()) == before


def test_who_is_killed_before_its_program_is_executed_counts_as_started(
    hung: HungProgram, pool: ThreadPoolExecutor
) -> None:
    starting = Starting(hung, pool)

    os.kill(starting.pid, signal.SIGKILL)

    assert starting.exit_code() == -signal.SIGKILL


def test_who_is_killed_before_it_has_said_anything_counts_as_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed = tmp_path / "python"
    killed.write_text("#!/bin/sh\nkill -9 $$\n")
    killed.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(killed))

    assert exit_code_of(["true"], confinement=LIMITED) == -signal.SIGKILL


def test_a_failed_start_leaves_no_child_and_no_descriptor() -> None:
    def fail_every_way() -> None:
        refusal(["no-such-tool"])
        refusal(["/bin/true", "x" * (1 << 18)])
        refusal(["true"], confinement=Confinement(user="no-such-user"))
        assert exit_code_of(["true"], confinement=LIMITED) == 0

    fail_every_way()
    before, children_before = os.listdir("/proc/self/fd"), proc.children(os.getpid())
    for _ in range(5):
        fail_every_way()

    assert os.listdir("/proc/self/fd") == before
    assert proc.children(os.getpid()) == children_before


def test_a_hung_program_delays_no_other_start(hung: HungProgram, pool: ThreadPoolExecutor) -> None:
    starting = Starting(hung, pool)

    codes = [exit_code_of(["true"], confinement=LIMITED) for _ in range(3)]

    assert codes == [0] * 3
    assert not starting.result.done()
    assert starting.exit_code() == 0


def test_the_program_runs_although_nobody_listens_any_more(tmp_path: Path) -> None:
    null, directory = os.open(os.devnull, os.O_RDWR), os.open("/", os.O_PATH)
    listening, reporting = os.pipe()
    os.close(listening)
    evidence = tmp_path / "evidence"
    plan = executor._plan(["/bin/sh"], [b"sh", b"-c", f"echo ran >{evidence}".encode()], [], LIMITED, "/")

    pid = executor._spawn(plan, [], directory, (null, null, null), reporting)

    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert evidence.read_text() == "ran\n"
    os.close(null)
    os.close(directory)


def _forks_in_executors(preload: dict[str, str]) -> int:
    real = executor._own_environment

    def counted(environment: list[bytes]) -> list[bytes]:
        return [*real(environment), *(f"{name}={value}".encode() for name, value in preload.items())]

    executor._own_environment = counted
    for confinement in (LIMITED, Confinement(niceness=1, user="nobody" if os.geteuid() == 0 else "")):
        assert exit_code_of(["/bin/true"], cwd="/", confinement=confinement) == 0
        refusal(["/bin/true", "x" * (1 << 18)], confinement=confinement)
    return atfork.count()


def test_neither_we_nor_the_executor_fork(atfork_counter: atfork.AtforkCounter) -> None:
    preload = dict(atfork_counter.environment)

    forks = Apart(environment=preload).run(_forks_in_executors, preload)

    assert forks == 0
    assert atfork_counter.forks() == []
