"""What a spawned program finds around it: session, directory, environment, signals, descriptors."""

from __future__ import annotations

import fcntl
import os
import signal
import threading
from pathlib import Path

import pytest
from support.apart import apart
from support.processes import PLAIN, exit_code_of, output_of

from farspawn_core import spawn

_GLIBC_INTERNAL = {32, 33}  # sigfillset(3) leaves these two out, so they stay what they were: harmless


def _signals(status: str, field: str) -> set[int]:
    """Return the signals in a mask of /proc/PID/status."""
    mask = next(line.split()[1] for line in status.splitlines() if line.startswith(f"{field}:"))
    return {number for number in range(1, 65) if int(mask, 16) >> (number - 1) & 1} - _GLIBC_INTERNAL


def test_a_process_leads_a_session_and_a_group_of_its_own() -> None:
    pid, _name, _state, _parent, group, session = output_of(["cat", "/proc/self/stat"]).split()[:6]

    assert pid == group == session


def test_a_process_runs_in_the_directory_it_is_given(tmp_path: Path) -> None:
    found = output_of(["readlink", "/proc/self/cwd"], cwd=str(tmp_path))

    assert found.strip() == os.path.realpath(tmp_path)


def test_a_process_without_a_directory_runs_in_ours() -> None:
    found = output_of(["readlink", "/proc/self/cwd"])

    assert found.strip() == os.path.realpath(".")


def test_the_environment_is_exactly_what_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OURS", "not to be seen")

    found = output_of(["/bin/cat", "/proc/self/environ"], env={"A": "1=2", "EMPTY": "", "ANY": "\udcff\n"})

    assert found == "A=1=2\0EMPTY=\0ANY=\udcff\n\0"


def test_arguments_arrive_unchanged() -> None:
    arguments = ["", "a b", "$HOME", "ä", "\udcff", "--", "\n"]

    found = output_of(["/usr/bin/printf", "%s\\0", *arguments])

    assert found == "".join(f"{argument}\0" for argument in arguments)


def _ignore_and_block_everything() -> str:
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # the test has to reap
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    return output_of(["cat", "/proc/self/status"])


def test_no_signal_is_ignored_or_blocked_even_if_the_parent_does_both() -> None:
    status = apart.run(_ignore_and_block_everything)

    assert _signals(status, "SigIgn") == set()
    assert _signals(status, "SigBlk") == set()


def test_sigpipe_and_sigxfsz_have_their_default_although_python_ignores_them() -> None:
    assert signal.getsignal(signal.SIGPIPE) is signal.SIG_IGN
    assert signal.getsignal(signal.SIGXFSZ) is signal.SIG_IGN

    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        assert exit_code_of(["sh", "-c", f"kill -{int(number)} $$"]) == -number


def test_no_descriptor_is_inherited_even_one_made_inheritable() -> None:
    reading, writing = os.pipe()
    try:
        os.set_inheritable(writing, True)
        found = output_of(["ls", "/proc/self/fd"])
    finally:
        os.close(reading)
        os.close(writing)

    assert found.split() == ["0", "1", "2", "3"]  # 3 is the directory that ls itself reads


def test_no_descriptor_is_inherited_that_another_thread_opens_meanwhile() -> None:
    done, busy = threading.Event(), threading.Event()

    def open_and_close() -> None:
        while not done.is_set():
            pair = os.pipe()
            for descriptor in pair:
                os.set_inheritable(descriptor, True)
            busy.set()
            for descriptor in pair:
                os.close(descriptor)

    thread = threading.Thread(target=open_and_close)
    thread.start()
    try:
        busy.wait()
        found = {output_of(["ls", "/proc/self/fd"]) for _ in range(100)}
    finally:
        done.set()
        thread.join()

    assert found == {"0\n1\n2\n3\n"}


def _pipe_and_texts(count: int) -> tuple[list[int], list[int]]:
    pairs = [os.pipe() for _ in range(count)]
    return [reading for reading, _ in pairs], [writing for _, writing in pairs]


def test_descriptor_i_of_the_process_is_the_ith_that_was_given() -> None:
    readings, writings = _pipe_and_texts(3)
    program = ["sh", "-c", "echo one >&1; echo two >&2; echo three >&3"]

    pid = spawn(program, env=PLAIN, descriptors=(0, *writings))
    os.waitpid(pid, 0)
    texts = [os.read(reading, 100) for reading in readings]
    for descriptor in (*readings, *writings):
        os.close(descriptor)

    assert texts == [b"one\n", b"two\n", b"three\n"]


def test_a_process_given_no_descriptors_has_none() -> None:
    pid = spawn(
        ["sh", "-c", "[ ! -e /proc/$$/fd/0 ] && [ ! -e /proc/$$/fd/1 ] && [ ! -e /proc/$$/fd/2 ]"],
        env=PLAIN,
        descriptors=(),
    )

    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def _spawn_with_low_descriptors_swapped() -> str:
    for descriptor in (0, 1, 2):
        os.close(descriptor)
    reading, writing = os.pipe()
    assert (reading, writing) == (0, 1)
    program = ["sh", "-c", "echo zero >&0; read line <&1; echo got $line >&2"]
    # Swapped, and one of them twice: moved one after the other, the reading end would be overwritten before its turn.
    pid = spawn(program, env=PLAIN, cwd="/", descriptors=(writing, reading, writing))
    os.waitpid(pid, 0)
    return os.read(reading, 100).decode()


def test_descriptors_are_mapped_right_when_ours_are_among_the_first_three() -> None:
    text = apart.run(_spawn_with_low_descriptors_swapped)

    assert text == "got zero\n"


def test_spawning_leaves_no_descriptor_open_in_ours(tmp_path: Path) -> None:
    def spawn_every_way() -> None:
        assert exit_code_of(["true"], cwd=str(tmp_path)) == 0
        for argv in (["no-such-program"], ["true", "x" * (1 << 18)]):
            with pytest.raises(OSError, match=r"no-such-program|true"):
                spawn(argv, env=PLAIN, cwd=str(tmp_path))

    spawn_every_way()
    before = os.listdir("/proc/self/fd")
    for _ in range(10):
        spawn_every_way()

    assert os.listdir("/proc/self/fd") == before


def test_the_descriptors_of_the_caller_are_left_as_they_were() -> None:
    reading, writing = os.pipe()
    before = [fcntl.fcntl(descriptor, fcntl.F_GETFD) for descriptor in (0, 1, 2, reading, writing)]

    pid = spawn(["true"], env=PLAIN, descriptors=(0, 1, 2, writing))
    os.waitpid(pid, 0)
    after = [fcntl.fcntl(descriptor, fcntl.F_GETFD) for descriptor in (0, 1, 2, reading, writing)]
    os.close(reading)
    os.close(writing)

    assert after == before
