"""What /proc says is read right whatever a program does to it, and a signal goes to the right process or to nobody."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import threading
from pathlib import Path

import pytest
from support.apart import Apart, give_up_root, own_pid_namespace
from support.processes import (
    GOES_ON_WITHOUT_ITS_FIRST_THREAD,
    LIKE_TORCHRUN,
    LIKE_TORCHRUN_SIZE,
    PLAIN,
    STAYS,
    Family,
    python_program,
    state,
)
from support.waiting import until

from farspawn_core import ProcessAdapter, proc, spawn_process


@pytest.fixture
def process(family: Family) -> ProcessAdapter:
    """A process that stays."""
    started = spawn_process(python_program(STAYS), PLAIN, descriptors=family.descriptors)
    family.members(1)
    return started


@pytest.mark.parametrize("name", ["x) R (1", ") (", "((", "))", "a b", "x) Z 1 1 1 1\n"])
def test_a_name_made_to_confuse_does_not(tmp_path: Path, name: str) -> None:
    script = tmp_path / name
    script.write_text("#!/bin/sh\necho\nread line\n", encoding="utf-8")
    script.chmod(0o755)
    reading, writing = os.pipe()
    stdin, hold = os.pipe()
    confusing = spawn_process([str(script)], PLAIN, descriptors=(stdin, writing, 2))
    os.read(reading, 1)  # it is executed now, and bears its name

    found = proc.read(confusing.pid)
    confusing.kill()
    for descriptor in (reading, writing, stdin, hold):
        os.close(descriptor)

    assert found is not None
    assert found.name == name[:15]
    assert (found.parent, found.group, found.session) == (os.getpid(), confusing.pid, confusing.pid)
    assert found.alive


def test_a_process_is_read_as_it_is(process: ProcessAdapter) -> None:
    found = proc.read(process.pid)

    assert found is not None
    assert (found.pid, found.parent, found.threads) == (process.pid, os.getpid(), 1)
    assert found.start_time == (state(process.pid) or ("", 0))[1]


def test_a_pid_that_nobody_has_is_none(process: ProcessAdapter) -> None:
    process.kill()

    assert proc.read(process.pid) is None
    assert proc.open_pidfd(process.pid) is None
    assert proc.environment_value(process.pid, "PATH") is None
    assert proc.children(process.pid) == []
    assert proc.children_of_thread(process.pid, process.pid) == []


def test_a_number_that_is_only_a_threads_is_no_process() -> None:
    done = threading.Event()
    thread = threading.Thread(target=done.wait)
    thread.start()
    try:
        assert thread.native_id is not None
        assert proc.open_pidfd(thread.native_id) is None
    finally:
        done.set()
        thread.join()


def test_a_zombie_is_not_alive() -> None:
    ended = spawn_process(["true"], PLAIN)
    until(lambda: (state(ended.pid) or ("", 0))[0] == "Z")

    found = proc.read(ended.pid)

    assert found is not None
    assert not found.alive


def test_a_zombie_with_a_living_thread_is_alive(family: Family) -> None:
    process = spawn_process(python_program(GOES_ON_WITHOUT_ITS_FIRST_THREAD), PLAIN, descriptors=family.descriptors)
    family.members(1)
    until(lambda: (state(process.pid) or ("", 0))[0] == "Z")

    found = proc.read(process.pid)

    assert found is not None
    assert found.alive
    assert process.poll() is None
    assert process.terminate() == []
    assert process.poll() == -signal.SIGKILL
    assert family.is_gone()


def test_the_children_of_every_thread_are_found() -> None:
    with Family() as family:
        started: list[ProcessAdapter] = []
        done = threading.Event()

        def start_and_stay() -> None:
            started.append(spawn_process(python_program(STAYS), PLAIN, descriptors=family.descriptors))
            done.wait()

        threads = [threading.Thread(target=start_and_stay) for _ in range(3)]
        for thread in threads:
            thread.start()
        family.members(3)
        found = proc.children(os.getpid())
        done.set()
        for thread in threads:
            thread.join()
        for process in started:
            process.kill()

        assert {process.pid for process in started} <= set(found)


def test_a_variable_of_a_running_process_is_read(family: Family) -> None:
    environment = {**PLAIN, "SHORT": "no", "SHORTER": "", "OTHER": "SHORT=wrong"}
    process = spawn_process(python_program(STAYS), environment, descriptors=family.descriptors)
    family.members(1)

    values = [proc.environment_value(process.pid, name) for name in ("SHORT", "SHORTER", "SHOR", "OTHER")]
    process.kill()

    assert values == ["no", "", None, "SHORT=wrong"]


def test_a_signal_reaches_the_process_that_was_meant(process: ProcessAdapter) -> None:
    meant = proc.read(process.pid)
    assert meant is not None

    assert proc.send(meant, signal.SIGTERM)
    assert process.wait() == -signal.SIGTERM
    assert not proc.send(meant, signal.SIGTERM)


def test_a_signal_never_reaches_another_process_of_the_same_pid(process: ProcessAdapter) -> None:
    now = proc.read(process.pid)
    assert now is not None
    before = dataclasses.replace(now, start_time=now.start_time - 1)

    assert not proc.send(before, signal.SIGKILL)
    assert process.poll() is None
    process.kill()


def test_everything_holds_all_that_live(family: Family) -> None:
    process = spawn_process(python_program(LIKE_TORCHRUN), PLAIN, descriptors=family.descriptors)
    members = family.members(LIKE_TORCHRUN_SIZE)

    assert {os.getpid(), *(member.pid for member in members)} <= set(proc.everything())
    process.kill()


def seen_where_others_are_hidden() -> list[bool]:
    """Hide the processes of other users, become one of them, and look at pid 1 and at ourselves."""
    child = os.getpid()
    subprocess.run(["mount", "-o", "remount,hidepid=1", "/proc"], check=True)
    give_up_root()
    return [1 in proc.everything(), proc.read(1) is None, proc.read(child) is None]


@pytest.mark.skipif(os.geteuid() != 0 or not own_pid_namespace(), reason="only root may hide processes")
def test_processes_that_we_may_not_look_at_are_as_good_as_none() -> None:
    prefix = [*own_pid_namespace(), "sh", "-c", '"$@"; exit $?', "sh"]  # so that pid 1 stays root

    assert Apart(prefix=prefix).run(seen_where_others_are_hidden) == [True, True, False]
