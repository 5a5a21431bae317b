"""What a keeper leaves for its next image is read by that image, be it of a later or an earlier version."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace

import pytest
from farspawn_server.keeper.handover import Handed, Handover, leave, take
from farspawn_server.keeper.pidfile import Pidfile
from farspawn_server.keeper.processes import Processes
from support.apart import Apart

from farspawn_server.keeper.messages import Ended, Failure, Holding, Spent

# As 0.1.0 wrote it when `farspawnd reload` was new. Never change it.
OLDEST = """
{"keeper": "k", "started_at": 1700000000000000000, "images": 2, "server": 321, "tasks": [
    {"holding": {"uid": "u1/1", "pid": 7, "start_time": 99, "started_at": 5, "failure": null, "ended": null, "left": 0},
     "killing": true, "forgotten": false, "stranger": true},
    {"holding": {"uid": "u2/1", "pid": 8, "start_time": 98, "started_at": 6, "failure": null, "left": 1, "ended":
        {"at": 9, "code": 3, "signal": null, "core_dumped": false,
         "spent": {"user_seconds": 0.5, "system_seconds": 0.25, "max_resident_bytes": 4096}}},
     "killing": false, "forgotten": true, "stranger": false},
    {"holding": {"uid": "u3/1", "pid": 0, "start_time": 0, "started_at": 0, "ended": null, "left": 0,
                 "failure": {"error_number": 2, "phase": "program", "path": "/no"}},
     "killing": false, "forgotten": false, "stranger": false}
]}
"""
OF_OLD = [
    Handed(Holding("u1/1", 7, 99, 5), killing=True, stranger=True),
    Handed(Holding("u2/1", 8, 98, 6, ended=Ended(9, 3, spent=Spent(0.5, 0.25, 4096)), left=1), forgotten=True),
    Handed(Holding("u3/1", failure=Failure(2, "program", "/no"))),
]

# As it is written today. Whoever changes that keeps this one beside the oldest, for the last image to be understood.
PRESENT = (
    b'{"keeper": "k", "started_at": 4, "images": 2, "server": 321, "tasks": [{"holding": {"uid": "u/1", "pid": 7, '
    b'"start_time": 99, "started_at": 5, "failure": {"error_number": 2, "phase": "program", "path": "/no"}, "ended": '
    b'{"at": 9, "code": null, "signal": 9, "core_dumped": true, "spent": {"user_seconds": 0.5, "system_seconds": 0.25, '
    b'"max_resident_bytes": 4096}, "out_of_memory": true}, "left": 1, "shut_down": true, "guessed": true}, '
    b'"killing": true, "forgotten": true, "stranger": true, "input": [%d, 13], "input_length": 13, "pidfd": 12, '
    b'"struck": true}]}'
)
BEFORE_GUESSES = PRESENT.replace(b', "guessed": true', b"")


def handed_over(table: bytes) -> Handover:
    descriptor = os.memfd_create("table")
    os.write(descriptor, table)
    return take(descriptor)


def with_everything(input_end: int) -> Handover:
    """Return a table of one task, no field of which is at its default."""
    ended = Ended(9, None, 9, core_dumped=True, spent=Spent(0.5, 0.25, 4096), out_of_memory=True)
    holding = Holding("u/1", 7, 99, 5, Failure(2, "program", "/no"), ended, 1, shut_down=True, guessed=True)
    task = Handed(
        holding,
        killing=True,
        forgotten=True,
        stranger=True,
        input=(input_end, 13),
        input_length=13,
        pidfd=12,
        struck=True,
    )
    return Handover("k", 4, 2, 321, [task])


@pytest.fixture
def input_end() -> Iterator[int]:
    """A descriptor that is open: what is handed on is told to outlive an exec, and then not to."""
    descriptor = os.open("/dev/null", os.O_WRONLY | os.O_CLOEXEC)
    yield descriptor
    os.close(descriptor)


def test_the_oldest_table_is_read_whole() -> None:
    assert handed_over(OLDEST.encode()) == Handover("k", 1_700_000_000_000_000_000, 2, 321, OF_OLD)


def test_a_table_of_before_there_were_guesses_has_none(input_end: int) -> None:
    (task,) = handed_over(BEFORE_GUESSES % input_end).tasks

    assert not task.holding.guessed
    assert replace(task, holding=replace(task.holding, guessed=True)) == with_everything(input_end).tasks[0]


def test_what_the_oldest_table_may_leave_out_takes_its_default() -> None:
    table = handed_over(b'{"keeper": "k", "started_at": 4, "images": 1, "tasks": [{"holding": {"uid": "u/1"}}]}')

    assert table == Handover("k", 4, 1, 0, [Handed(Holding("u/1"))])


def test_what_a_newer_image_says_besides_is_ignored(input_end: int) -> None:
    newer = (PRESENT % input_end).replace(b'"pidfd"', b'"new": [1], "pidfd"').replace(b'"left"', b'"new": {}, "left"')

    assert handed_over(newer.replace(b'"tasks"', b'"new": 1, "tasks"')) == with_everything(input_end)


def test_a_table_is_written_as_it_always_was(input_end: int) -> None:
    descriptor = leave(with_everything(input_end))

    assert os.pread(descriptor, 1 << 16, 0) == PRESENT % input_end
    assert take(descriptor) == with_everything(input_end)


def test_an_input_outlives_the_exec_and_no_other_process_gets_it(input_end: int) -> None:
    descriptor = leave(with_everything(input_end))
    assert os.get_inheritable(input_end)
    assert os.get_inheritable(descriptor)

    take(descriptor)

    assert not os.get_inheritable(input_end)


def left_of_a_stranger() -> list[int]:
    """Take over a stranger's task whose leader nobody ever found; return how many the next image says are left."""
    told: list[Holding] = []
    processes = Processes(Pidfile("/dev/null"), changed=told.append, taken=lambda _: None, wake=lambda: None)
    processes.take_over([Handed(Holding("uid-1/1", ended=Ended(1), left=1), stranger=True)])
    processes.collect()
    return [holding.left for holding in told]


def test_what_a_leader_that_was_never_found_had_left_is_looked_for_by_the_next_image_too() -> None:
    assert Apart().run(left_of_a_stranger) == [0]
