"""A line that nobody takes is dropped and counted, and whoever writes it waits for nobody."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from support.apart import Apart

from farspawn_core.stderr import Stderr, hold_standard_streams

_MANY = 2_000  # lines: more than a pipe of 64 KiB holds


def write_many(descriptor: int) -> None:
    os.dup2(descriptor, 2)
    stderr = Stderr()
    for number in range(_MANY):
        stderr.write(f"line {number} {'x' * 100}")


def write_many_and_one_more(descriptor: int, reading: int) -> None:
    os.dup2(descriptor, 2)
    stderr = Stderr()
    for number in range(_MANY):
        stderr.write(f"line {number} {'x' * 100}")
    while len(os.read(reading, 1 << 20)) == 1 << 20:
        pass
    stderr.write("last")


def test_a_full_pipe_costs_lines_and_they_are_counted() -> None:
    reading, writing = os.pipe()
    os.set_blocking(reading, True)
    try:
        Apart(descriptors=(writing, reading)).run(write_many_and_one_more, writing, reading)
        os.close(writing)
        writing = -1
        rest = os.read(reading, 1 << 20).decode()
    finally:
        os.close(reading)
        if writing >= 0:
            os.close(writing)

    assert rest.endswith("lines were dropped: nobody read them)\nlast\n")


def test_a_full_socket_costs_lines() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        Apart(descriptors=(theirs.fileno(),)).run(write_many, theirs.fileno())

        assert ours.recv(1 << 20).startswith(b"line 0 ")


def test_a_file_gets_everything_at_its_end(tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as file:
        file.write(b"before\n")
        file.flush()
        Apart(descriptors=(file.fileno(),)).run(write_many, file.fileno())

    lines = (tmp_path / "log").read_text().splitlines()
    assert lines[0] == "before"
    assert len(lines) == _MANY + 1


def write_to_closed_streams() -> list[bool]:
    for descriptor in (0, 1, 2):
        os.close(descriptor)
    Stderr().write("nobody")
    hold_standard_streams()
    Stderr().write("nobody either")
    return [os.path.samefile(f"/proc/self/fd/{descriptor}", os.devnull) for descriptor in (0, 1, 2)]


def test_closed_streams_are_held_open() -> None:
    reading, writing = os.pipe()
    try:
        child = Apart(descriptors=(writing,))
        assert child.run(write_to_closed_streams) == [True] * 3
    finally:
        os.close(reading)
        os.close(writing)
