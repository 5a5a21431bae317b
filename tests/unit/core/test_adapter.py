"""`ProcessAdapter` by FLARE's conventions: None while running, then the exit code, or minus the signal."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor

import pytest
from support.apart import apart
from support.processes import (
    ENDS_WITH_7_ON_SIGTERM,
    PLAIN,
    REFUSES_SIGTERM,
    STAYS,
    Family,
    python_program,
    state,
)
from support.waiting import PATIENCE, until

from farspawn_core import ExitUnknownError, spawn_process


def test_poll_is_none_while_the_process_runs(family: Family) -> None:
    process = spawn_process(python_program(STAYS), PLAIN, descriptors=family.descriptors)
    family.members(1)

    assert process.poll() is None
    process.kill()


@pytest.mark.parametrize("code", [0, 1, 255])
def test_poll_and_wait_give_the_exit_code(code: int) -> None:
    process = spawn_process(["sh", "-c", f"exit {code}"], PLAIN)

    assert process.wait(PATIENCE) == code
    assert process.poll() == code


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGUSR1])
def test_a_signal_that_ended_the_process_is_given_as_minus_its_number(number: signal.Signals) -> None:
    process = spawn_process(["sh", "-c", f"kill -{int(number)} $$"], PLAIN)

    assert process.wait(PATIENCE) == -number


def test_exit_tells_code_and_signal_apart() -> None:
    by_code = spawn_process(["sh", "-c", "exit 9"], PLAIN)
    by_signal = spawn_process(["sh", "-c", "kill -9 $$"], PLAIN)
    by_code.wait(PATIENCE)
    by_signal.wait(PATIENCE)

    code, number = by_code.exit(), by_signal.exit()

    assert code is not None
    assert (code.code, code.signal, code.core_dumped) == (9, None, False)
    assert number is not None
    assert (number.code, number.signal, number.core_dumped) == (None, 9, False)


def test_exit_tells_what_was_used() -> None:
    busy = "while sum(os.times()[:2]) < 0.05: bytearray(20_000_000)"
    process = spawn_process(python_program(busy), PLAIN)
    process.wait(PATIENCE)

    ended = process.exit()

    assert ended is not None
    assert ended.usage is not None
    assert ended.usage.user_seconds + ended.usage.system_seconds >= 0.04
    assert ended.usage.max_resident_bytes > 20_000_000


def test_wait_with_a_timeout_raises_while_the_process_runs(family: Family) -> None:
    process = spawn_process(python_program(STAYS), PLAIN, descriptors=family.descriptors)

    for timeout in (0.01, 0, -1):  # below zero too: a deadline that has passed
        with pytest.raises(TimeoutError):
            process.wait(timeout)
    process.kill()
    assert process.wait() == -signal.SIGKILL


def test_wait_blocks_no_other_caller(family: Family) -> None:
    process = spawn_process(python_program(STAYS), PLAIN, descriptors=family.descriptors)
    family.members(1)

    with ThreadPoolExecutor(4) as pool:
        waiting = [pool.submit(process.wait) for _ in range(4)]
        assert process.poll() is None
        process.terminate()

        assert [code.result(PATIENCE) for code in waiting] == [-signal.SIGKILL] * 4


def test_the_exit_is_remembered_for_ever() -> None:
    process = spawn_process(["sh", "-c", "exit 3"], PLAIN)
    process.wait(PATIENCE)
    process.terminate()

    assert [process.poll(), process.wait(), process.poll()] == [3, 3, 3]


def test_send_signal_reaches_the_process(family: Family) -> None:
    process = spawn_process(python_program(ENDS_WITH_7_ON_SIGTERM), PLAIN, descriptors=family.descriptors)
    family.members(1)

    process.send_signal(signal.SIGTERM)

    assert process.wait(PATIENCE) == 7


def test_send_signal_to_an_ended_process_does_nothing() -> None:
    process = spawn_process(["true"], PLAIN)
    process.wait(PATIENCE)

    process.send_signal(signal.SIGKILL)

    assert process.poll() == 0


def test_terminate_without_grace_kills(family: Family) -> None:
    process = spawn_process(python_program(ENDS_WITH_7_ON_SIGTERM), PLAIN, descriptors=family.descriptors)
    family.members(1)

    assert process.terminate() == []
    assert process.poll() == -signal.SIGKILL


def test_terminate_with_grace_asks_first(family: Family) -> None:
    process = spawn_process(python_program(ENDS_WITH_7_ON_SIGTERM), PLAIN, descriptors=family.descriptors)
    family.members(1)

    assert process.terminate(grace=PATIENCE) == []
    assert process.poll() == 7


def test_terminate_kills_what_refuses_sigterm(family: Family) -> None:
    process = spawn_process(python_program(REFUSES_SIGTERM), PLAIN, descriptors=family.descriptors)
    family.members(1)

    assert process.terminate(grace=0.05) == []
    assert process.poll() == -signal.SIGKILL


def test_a_stopped_process_sees_sigterm_in_terminate(family: Family) -> None:
    process = spawn_process(python_program(ENDS_WITH_7_ON_SIGTERM), PLAIN, descriptors=family.descriptors)
    family.members(1)
    process.send_signal(signal.SIGSTOP)
    until(lambda: (state(process.pid) or ("", 0))[0] == "T")

    process.terminate(grace=PATIENCE)

    assert process.poll() == 7


def test_terminate_of_an_ended_process_keeps_its_exit_code() -> None:
    process = spawn_process(["sh", "-c", "exit 3"], PLAIN)
    until(lambda: (state(process.pid) or ("", 0))[0] == "Z")

    assert process.terminate() == []
    assert process.poll() == 3


def test_terminate_leaves_no_zombie(family: Family) -> None:
    process = spawn_process(python_program(STAYS), PLAIN, descriptors=family.descriptors)
    process.terminate()

    assert state(process.pid) is None


def test_an_adapter_that_nobody_holds_leaves_no_descriptor_open() -> None:
    before = os.listdir("/proc/self/fd")
    for _ in range(10):
        spawn_process(["true"], PLAIN).wait(PATIENCE)

    assert os.listdir("/proc/self/fd") == before


def _exits_with_sigchld_ignored(gate: int) -> list[str]:
    """Return what is said of a process that the kernel reaped."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    reading, writing = os.pipe()
    process = spawn_process(["sh", "-c", "read line; exit 3"], PLAIN, descriptors=(reading, 1, 2))
    said = [str(process.poll())]
    os.write(writing, b"\n" * gate)
    for ask in (process.wait, process.poll, process.exit):
        try:
            said.append(str(ask()))
        except ExitUnknownError:
            said.append("unknown")
    process.send_signal(signal.SIGKILL)
    said.append(str(process.terminate()))
    return said


def test_an_exit_that_the_kernel_reaped_is_unknown_and_not_invented() -> None:
    said = apart.run(_exits_with_sigchld_ignored, 1)

    assert said == ["None", "unknown", "unknown", "unknown", "[]"]


def _starts_with_sigchld_ignored(count: int) -> list[str]:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    said = []
    for _ in range(count):
        process = spawn_process(["true"], PLAIN)  # may be gone before anybody can look at it
        try:
            said.append(str(process.wait()))
        except ExitUnknownError:
            said.append("unknown")
        process.send_signal(signal.SIGKILL)
        process.terminate()
    return said


def test_a_process_that_the_kernel_reaped_at_once_was_started_all_the_same() -> None:
    assert apart.run(_starts_with_sigchld_ignored, 100) == ["unknown"] * 100


def _exit_taken_by_another_reaper() -> list[str]:
    process = spawn_process(["sh", "-c", "exit 3"], PLAIN)
    os.waitpid(-1, 0)
    try:
        return [str(process.poll())]
    except ExitUnknownError as error:
        return ["unknown", str(error).replace(str(process.pid), "PID")]


def test_an_exit_that_somebody_else_reaped_is_unknown() -> None:
    said = apart.run(_exit_taken_by_another_reaper)

    assert said == ["unknown", "process PID was reaped by somebody else: its exit status is gone"]
