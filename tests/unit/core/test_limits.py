"""Each limit is shown by its effect on a real program, and is never above what we were given ourselves."""

from __future__ import annotations

import errno
import os
import resource
import signal
import sys

import pytest
from support.apart import Apart, apart
from support.confined import AS_NOBODY, why_not
from support.processes import PLAIN, exit_code_of, output_of

from farspawn_core import Confinement, Phase, SpawnError, spawn

_MIB = 1 << 20
_CROWD = "games"  # the processes of a user are counted: no other test runs any as this one


def python(body: str) -> list[str]:
    return [sys.executable, "-I", "-S", "-c", body]


def limits_of(name: str, confinement: Confinement) -> list[int]:
    body = f"import resource; print(*resource.getrlimit(resource.{name}))"
    return [int(word) for word in output_of(python(body), confinement=confinement).split()]


@pytest.mark.parametrize(
    ("name", "confinement"),
    [
        ("RLIMIT_AS", Confinement(address_space_bytes=1024 * _MIB)),
        ("RLIMIT_CPU", Confinement(cpu_seconds=1024)),
        ("RLIMIT_NOFILE", Confinement(open_files=1024)),
        ("RLIMIT_NPROC", Confinement(processes=1024)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_limit_is_soft_and_hard_at_once_and_leaves_the_others_alone(name: str, confinement: Confinement) -> None:
    asked = 1024 * _MIB if name == "RLIMIT_AS" else 1024
    names = ("RLIMIT_AS", "RLIMIT_CPU", "RLIMIT_NOFILE", "RLIMIT_NPROC")

    found = {each: limits_of(each, confinement) for each in names}

    ours = {each: list(resource.getrlimit(getattr(resource, each))) for each in names}
    most = asked + 1 if name == "RLIMIT_CPU" else asked  # a second for whoever handles SIGXCPU
    assert found == {**ours, name: [asked, most]}


def test_more_address_space_cannot_be_had() -> None:
    confinement = Confinement(address_space_bytes=256 * _MIB)
    body = "bytearray({} << 20); print('had it')"

    assert output_of(python(body.format(64)), confinement=confinement) == "had it\n"
    assert (
        exit_code_of(
            python(f"try: {body.format(512)}\nexcept MemoryError: raise SystemExit(9)"), confinement=confinement
        )
        == 9
    )


def test_a_program_that_needs_less_than_a_python_runs_in_less() -> None:
    assert exit_code_of(["/bin/true"], confinement=Confinement(address_space_bytes=6 * _MIB)) == 0


def test_more_processor_time_ends_it() -> None:
    spins = ["/bin/sh", "-c", "while :; do :; done"]

    assert exit_code_of(spins, confinement=Confinement(cpu_seconds=1)) == -signal.SIGXCPU


def test_whoever_does_not_hear_of_that_is_killed_a_second_later() -> None:
    spins = ["/bin/sh", "-c", "trap '' XCPU; while :; do :; done"]

    assert exit_code_of(spins, confinement=Confinement(cpu_seconds=1)) == -signal.SIGKILL


def test_more_files_cannot_be_opened() -> None:
    body = """
import os
opened = []
try:
    while True:
        opened.append(os.open("/", os.O_RDONLY))
except OSError as error:
    print(max(opened), error.errno)
"""

    found = output_of(python(body), confinement=Confinement(open_files=10))

    assert found == f"9 {errno.EMFILE}\n"


def test_more_processes_of_a_user_cannot_be_started() -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root, to run as a user whose processes nobody else adds to")
    starts_one = ["/bin/sh", "-c", "/bin/true; exit 0"]

    assert exit_code_of(starts_one, confinement=Confinement(user=_CROWD, processes=2)) == 0
    assert exit_code_of(starts_one, confinement=Confinement(user=_CROWD, processes=1)) == 2  # "Cannot fork"

    others = [spawn(["/bin/sleep", "600"], env=PLAIN, cwd="/", confinement=Confinement(user=_CROWD)) for _ in range(2)]
    try:
        with pytest.raises(SpawnError) as caught:
            spawn(["/bin/true"], env=PLAIN, cwd="/", confinement=Confinement(user=_CROWD, processes=1))
    finally:
        for pid in others:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
    assert (caught.value.errno, caught.value.phase) == (errno.EAGAIN, Phase.SPAWN)


def open_files_with_ours_at_50(asked: int) -> list[int]:
    resource.setrlimit(resource.RLIMIT_NOFILE, (40, 50))
    return limits_of("RLIMIT_NOFILE", Confinement(open_files=asked))


@pytest.mark.parametrize(("asked", "given"), [(30, 30), (45, 45), (60, 50), (1 << 62, 50)])
def test_no_limit_is_raised_above_our_own_hard_one(asked: int, given: int) -> None:
    assert apart.run(open_files_with_ours_at_50, asked) == [given, given]


@pytest.mark.parametrize("asked", [1 << 70, -1])
def test_a_limit_that_no_kernel_knows_is_einval(asked: int) -> None:
    with pytest.raises(SpawnError) as caught:
        spawn(["/bin/true"], env=PLAIN, confinement=Confinement(address_space_bytes=asked))

    assert (caught.value.errno, caught.value.phase, caught.value.filename) == (
        errno.EINVAL,
        Phase.CONFINEMENT,
        "address_space_bytes",
    )


@pytest.mark.parametrize("more", [3, 100])
def test_niceness_is_added_to_ours(more: int) -> None:
    found = output_of(["nice"], confinement=Confinement(niceness=more))

    assert int(found) == min(19, os.nice(0) + more)


def refusal_of_a_lower_niceness() -> list[str]:
    try:
        spawn(["/bin/true"], env=PLAIN, confinement=Confinement(niceness=-5))
    except SpawnError as error:
        return [errno.errorcode[error.errno or 0], error.phase.name, error.filename]
    return []


def test_an_agent_that_is_not_root_cannot_lower_niceness() -> None:
    prefix = () if os.geteuid() else AS_NOBODY
    if prefix and (reason := why_not(prefix)):
        pytest.skip(f"cannot give up root here: {reason}")

    assert Apart(prefix=prefix).run(refusal_of_a_lower_niceness) == ["EPERM", "CONFINEMENT", "niceness"]
