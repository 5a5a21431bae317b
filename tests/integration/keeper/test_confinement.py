"""What the site's owner imposes holds from the program's first instruction on, or the start fails and says why."""

from __future__ import annotations

import errno
import hashlib
import os
import signal
import sys
import threading
import uuid
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.keeper import ServedKeeper

from farspawn_core import cgroup
from farspawn_server.keeper.messages import Confinement, Failure, Holding

_MIB = 1 << 20
_TRIES = 40
_MOST_TRIES = 20 * _TRIES  # on a busy machine the swapping thread may get no turn for long


def code(holding: Holding) -> int | None:
    """Return the exit code, or minus the signal."""
    assert holding.ended is not None, holding.failure
    return holding.ended.code if holding.ended.signal is None else -holding.ended.signal


def script(path: Path, said: str) -> Path:
    path.write_text(f"#!/bin/sh\necho {said}\n")
    path.chmod(0o755)
    return path


def sha256(path: Path | str) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


@contextmanager
def flipping(link: Path, *targets: Path) -> Generator[None, None, None]:
    """Lead a link to one target after the other, as fast as can be."""
    done = threading.Event()
    link.symlink_to(targets[0])

    def flip() -> None:
        number = 0
        while not done.is_set():
            number += 1
            other = link.with_name("other")
            other.symlink_to(targets[number % len(targets)])
            other.rename(link)

    thread = threading.Thread(target=flip)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


# Limits.


@pytest.mark.parametrize(
    ("field", "name", "soft", "hard"),
    [
        ("address_space_bytes", "RLIMIT_AS", 1 << 30, 1 << 30),
        ("cpu_seconds", "RLIMIT_CPU", 1024, 1025),  # a second for whoever handles SIGXCPU
        ("open_files", "RLIMIT_NOFILE", 100, 100),
    ],
)
def test_a_limit_is_soft_and_hard_at_once(keeper: ServedKeeper, field: str, name: str, soft: int, hard: int) -> None:
    body = f"import resource; print(*resource.getrlimit(resource.{name}))"

    _, found = keeper.run([sys.executable, "-I", "-S", "-c", body], Confinement(**{field: soft}))  # type: ignore[arg-type]

    assert found == f"{soft} {hard}\n"


def test_more_processor_time_ends_it(keeper: ServedKeeper) -> None:
    over, _ = keeper.run(["sh", "-c", "while :; do :; done"], Confinement(cpu_seconds=1))

    assert code(over) == -signal.SIGXCPU


def test_a_limit_above_our_own_hard_one_is_that(keeper: ServedKeeper) -> None:
    _, most = keeper.run(["sh", "-c", "ulimit -H -n"])

    _, given = keeper.run(["sh", "-c", "ulimit -n"], Confinement(open_files=1 << 62))

    assert given == most


def test_a_limit_that_no_kernel_knows_is_einval(keeper: ServedKeeper) -> None:
    over, _ = keeper.run(["true"], Confinement(address_space_bytes=-1))

    assert over.failure == Failure(errno.EINVAL, "spawn", "true")


def test_niceness_is_added_to_ours_and_the_oom_score_set(keeper: ServedKeeper) -> None:
    _, found = keeper.run(
        ["sh", "-c", "nice; cat /proc/self/oom_score_adj"], Confinement(niceness=3, oom_score_adj=600)
    )

    assert found == f"{min(19, os.nice(0) + 3)}\n600\n"


def test_it_is_born_into_its_group_which_goes_with_it(keeper: ServedKeeper) -> None:
    if (home := cgroup.home()) is None:
        pytest.skip("no cgroup v2 here in which this process may make groups")
    uid = f"{uuid.uuid4().hex}/1"

    keeper.spawn(uid, ["cat", "/proc/self/cgroup"])
    keeper.until_over(uid)

    assert f"/farspawn/{uid.replace(chr(47), chr(46))}." in keeper.output(uid)
    assert keeper.end() == 0
    assert not (home.path / uid.replace("/", ".")).exists()


@pytest.mark.parametrize(
    ("controller", "limit", "file"),
    [
        ("memory", Confinement(memory_bytes=1 << 30), "memory.max"),
        ("pids", Confinement(processes=100), "pids.max"),  # by RLIMIT_NPROC it would count our own threads
    ],
)
def test_a_limit_that_cannot_be_kept_is_refused(
    keeper: ServedKeeper, controller: str, limit: Confinement, file: str
) -> None:
    if controller in keeper.hello.controllers:
        pytest.skip("here it can be kept")

    over, _ = keeper.run(["true"], limit)

    assert over.failure == Failure(errno.EOPNOTSUPP, "confinement", file)


# Working directories.


@pytest.fixture
def inside(directory: Path) -> Path:
    path = directory / "roots" / "inside"
    path.mkdir(parents=True)
    return path


@pytest.fixture
def outside(directory: Path) -> Path:
    path = directory / "outside"
    path.mkdir()
    return path


def where(keeper: ServedKeeper, cwd: Path, *directories: Path | str) -> str:
    """Return where a process really is, or why it was not started."""
    over, found = keeper.run(["pwd", "-P"], Confinement(directories=[*map(str, directories)]), cwd=str(cwd))
    if over.failure is None:
        return found.strip()
    assert over.failure == Failure(errno.EACCES, "working_directory", str(cwd))
    return "refused"


def test_only_what_is_within_will_do_links_resolved(keeper: ServedKeeper, inside: Path, outside: Path) -> None:
    below = inside / "a"
    below.mkdir()
    alike = inside.with_name("inside2")
    alike.mkdir()
    (inside / "leads_out").symlink_to(outside)
    (outside / "leads_in").symlink_to(inside)
    (outside / "root").symlink_to(inside)

    for cwd, roots, found in (
        (inside, (outside, inside), str(inside)),
        (below, (inside,), str(below)),
        (below, ("/",), str(below)),
        (inside, (f"{inside}/",), str(inside)),
        (outside / "leads_in", (inside,), str(inside)),
        (inside, (outside / "root",), str(inside)),
        (inside / "leads_out", (inside,), "refused"),
        (outside, (inside,), "refused"),
        (inside.parent, (inside,), "refused"),
        (alike, (inside,), "refused"),
        (inside, (inside / "missing",), "refused"),
        (inside, ("", ".", "roots"), "refused"),
    ):
        assert where(keeper, cwd, *roots) == found.replace(str(inside), os.path.realpath(inside)), (cwd, roots)


def test_a_link_that_is_swapped_meanwhile_gets_nobody_out(keeper: ServedKeeper, inside: Path, outside: Path) -> None:
    found: Counter[str] = Counter()

    with flipping(keeper.directory / "link", inside, outside):
        for number in range(_MOST_TRIES):
            if number >= _TRIES and len(found) > 1:
                break
            found[where(keeper, keeper.directory / "link", inside)] += 1

    assert set(found) == {os.path.realpath(inside), "refused"}


# Pinned programs.


def test_a_pinned_program_runs_only_while_its_file_has_the_hash(keeper: ServedKeeper) -> None:
    tool = script(keeper.directory / "tool", "good")
    pin = Confinement(sha256=sha256(tool))
    assert keeper.run([str(tool)], pin)[1] == "good\n"
    assert keeper.run(["tool"], pin, env={"PATH": str(keeper.directory)})[1] == "good\n"
    assert keeper.run(["./tool"], pin, cwd=str(keeper.directory))[1] == "good\n"
    was = tool.stat()

    script(tool, "evil")
    os.utime(tool, ns=(was.st_atime_ns, was.st_mtime_ns))
    over, said = keeper.run([str(tool)], pin)

    assert over.failure == Failure(errno.EKEYREJECTED, "program", os.path.realpath(tool))
    assert said == ""


def test_a_pinned_program_that_is_missing_or_no_file_is_told(keeper: ServedKeeper) -> None:
    os.mkfifo(keeper.directory / "fifo", 0o777)
    pin = Confinement(sha256="0" * 64)

    missing, _ = keeper.run(["/nowhere"], pin)
    fifo, _ = keeper.run([str(keeper.directory / "fifo")], pin)

    assert missing.failure == Failure(errno.ENOENT, "program", "/nowhere")
    assert fifo.failure is not None
    assert (fifo.failure.error_number, fifo.failure.phase) == (errno.EACCES, "program")


def test_a_pinned_link_that_is_swapped_meanwhile_runs_nothing_else(keeper: ServedKeeper) -> None:
    good, evil = script(keeper.directory / "good", "good"), script(keeper.directory / "evil", "evil")
    pin = Confinement(sha256=sha256(good))
    found: Counter[str] = Counter()

    with flipping(keeper.directory / "tool", good, evil):
        for number in range(_MOST_TRIES):
            if number >= _TRIES and len(found) > 1:
                break
            over, said = keeper.run([str(keeper.directory / "tool")], pin)
            found[said.strip() if over.failure is None else errno.errorcode[over.failure.error_number]] += 1

    assert set(found) == {"good", "EKEYREJECTED"}


# What the program finds.


def test_arguments_and_environment_arrive_unchanged(keeper: ServedKeeper) -> None:
    arguments = ["", "a b", "$HOME", "ä", "\udcff", "--", "\n"]
    env = {"A": "1=2", "EMPTY": "", "ANY": "\udcff\n", "PYTHONHOME": "/nowhere", "LC_ALL": "xx"}

    _, printed = keeper.run(["/usr/bin/printf", "%s\\0", *arguments])
    _, found = keeper.run(["/bin/cat", "/proc/self/environ"], env=env)

    assert printed == "".join(f"{argument}\0" for argument in arguments)
    assert found == "".join(f"{name}={value}\0" for name, value in env.items())


def test_a_megabyte_of_command_arrives(keeper: ServedKeeper) -> None:
    _, found = keeper.run(["sh", "-c", 'printf %s "$*"', "sh", *["x" * 100_000] * 10])

    assert len(found) == 10 * 100_000 + 9


def test_each_failure_is_told_with_errno_and_phase(keeper: ServedKeeper) -> None:
    plain = keeper.directory / "plain"
    plain.write_text("echo no program\n")
    broken = keeper.directory / "broken"
    broken.write_text("#!/nowhere/interpreter\n")
    for path in (plain, broken):
        path.chmod(0o755)

    for argv, cwd, number, phase in (
        (["/nowhere"], "/", errno.ENOENT, "program"),
        (["no-such-tool"], "/", errno.ENOENT, "program"),
        ([str(keeper.directory)], "/", errno.EACCES, "program"),
        (["/bin/true/tool"], "/", errno.ENOTDIR, "program"),
        ([str(plain)], "/", errno.ENOEXEC, "spawn"),
        ([str(broken)], "/", errno.ENOENT, "spawn"),
        (["/bin/true", "x" * (1 << 18)], "/", errno.E2BIG, "spawn"),
        (["true"], "/nowhere", errno.ENOENT, "working_directory"),
        (["true"], "/bin/true", errno.ENOTDIR, "working_directory"),
    ):
        failure = keeper.run(argv, cwd=cwd)[0].failure
        assert failure is not None
        assert (failure.error_number, failure.phase) == (number, phase), argv
