"""What a shim is told and what it tells, as bytes: core/shim/protocol.h in Python.

A structure may only grow at its end: what is behind the part that we know is passed over, what is missing is zero. So
the shim of an older or a newer release is understood. Whatever else comes is a GarbledError, and nothing else.
"""

from __future__ import annotations

import enum
import os
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from farspawn_core.errors import Phase

VERSION = 1
NAME = "farspawn-shim"
"""What a shim is called, in proc_pid_stat(5)."""
SOCKET = "keeper.sock"
"""What a shim dials, in the state directory."""
FD_ORDER, FD_KEEPER, FD_CGROUP = 3, 4, 5
"""The descriptors that a shim is given besides its standard streams."""
WRITE_BYTES = 65536
"""The most that one `write` may carry."""
MESSAGE_BYTES = 16384
"""More than any message of a shim's has."""
HEAD_BYTES = 24
"""Of a run file: it is that long once its shim has held the lock."""

_ORDER = struct.Struct("<11I2iI6Q32s96s")
_HEAD = struct.Struct("<BBHI")
_REPORT = struct.Struct("<IIiiiI3q3Q4QiI")
_HELLO = struct.Struct("<32s96s")
_MEMBERS = struct.Struct("<II")
_MEMBER = struct.Struct("<iII16s")
_TAKEN = struct.Struct("<IIQ")
_ANSWER = struct.Struct("<i")
_SIGNAL = struct.Struct("<iI")
_WRITE = struct.Struct("<QII")

_INPUT, _MERGE, _USER, _CGROUP = 1, 2, 4, 8
_RUN_BYTES = 96
_LETTERS = 0x7F
_STEPS = {1: Phase.WORKING_DIRECTORY, 2: Phase.PROGRAM, 3: Phase.OUTPUT, 4: Phase.SPAWN, 5: Phase.CONFINEMENT}


class _Kind(enum.IntEnum):
    """Of a message: `enum message_kind`."""

    HELLO = 1
    REPORT = 2
    ANSWER = 3
    MEMBERS = 4
    TAKEN = 5
    SIGNAL = 65
    KILL = 66
    LIST = 67
    WRITE = 68
    FORGET = 69


class GarbledError(ValueError):
    """What came is no message of a shim's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """All that a leader is started by.

    Attributes:
        run: the run's name.
        token: what proves the shim of this run to be one.
        run_file: what the shim makes and holds, from its working directory.
        prefix: of the output files.
        argv: the program as it was named, and its arguments.
        env: its whole environment.
        cwd: its working directory.
        programs: the paths at which the program is looked for, in order.
        directories: its working directory must be within one of these; none: anywhere.
        sha256: of the program's file, in lower-case hexadecimal; empty: any.
        open_input: its standard input is a pipe for `write`.
        merge_output: standard error goes where standard output goes.
        cgroup: the shim is given the directory of a cgroup, into which the leader is born.
        user: uid, gid and supplementary groups to become; None: nobody else.
        log_bytes: kept of each output.
        mask: umask.
        niceness: added to ours.
        oom_score_adj: see proc_pid_oom_score_adj(5).
        address_space_bytes, cpu_seconds, processes: see setrlimit(2); 0: ours.
        files: RLIMIT_NOFILE, soft and hard; 0: ours.
    """

    run: str
    token: bytes
    run_file: str
    prefix: str
    argv: Sequence[str]
    env: Mapping[str, str]
    cwd: str
    programs: Sequence[str]
    directories: Sequence[str] = ()
    sha256: str = ""
    open_input: bool = False
    merge_output: bool = False
    cgroup: bool = False
    user: tuple[int, int, Sequence[int]] | None = None
    log_bytes: int = 1 << 30
    mask: int = 0o022
    niceness: int = 0
    oom_score_adj: int = 0
    address_space_bytes: int = 0
    cpu_seconds: int = 0
    processes: int = 0
    files: tuple[int, int] = (0, 0)


class Stage(enum.IntEnum):
    """How far a run has come: `enum phase`."""

    STARTING = 0
    RUNNING = 1
    FAILED = 2
    ENDED = 3


@dataclass(frozen=True, slots=True)
class Report:
    """All that a shim knows of its run; see `struct report` for each field. Times are in nanoseconds."""

    stage: Stage
    flags: int
    pid: int
    status: int
    error: int
    step: Phase
    started_at: int
    ended_at: int
    started_monotonic: int
    user_us: int
    system_us: int
    max_resident_bytes: int
    written: tuple[int, int]
    lost: tuple[int, int]
    output_error: int
    path: str = ""

    @property
    def alive(self) -> bool:
        """Something of the run lives."""
        return bool(self.flags & 1)

    @property
    def struck(self) -> bool:
        """The shim has sent SIGKILL to something of it."""
        return bool(self.flags & 16)


@dataclass(frozen=True, slots=True)
class Hello:
    """The first words of a shim that has dialled."""

    token: bytes
    run: str
    report: Report


@dataclass(frozen=True, slots=True)
class Answer:
    """To `signal`: how many processes it reached."""

    sequence: int
    reached: int


@dataclass(frozen=True, slots=True)
class Member:
    """One live process of a run. `error` is the errno of the last signal that the kernel refused, or 0."""

    pid: int
    error: int
    state: str
    name: str


@dataclass(frozen=True, slots=True)
class Members:
    """To `members`: how many live, and the first of them."""

    sequence: int
    total: int
    members: tuple[Member, ...]


@dataclass(frozen=True, slots=True)
class Taken:
    """To `write`: how much of the input the pipe has taken in all, and whether it is closed."""

    sequence: int
    closed: bool
    offset: int


Message = Hello | Report | Answer | Members | Taken


def encode(order: Order) -> bytes:
    """Return what is in the file of an order.

    Raises:
        ValueError: something holds a NUL character, or is too long, or a variable has no name or one with "=", or a
            number is none that the kernel knows.
    """
    try:
        return _encoded(order)
    except struct.error as error:
        raise ValueError(str(error)) from error


def signal(sequence: int, number: int, *, tree: bool) -> bytes:
    """Return the message: signal the leader, or everything."""
    return _head(_Kind.SIGNAL, sequence) + _SIGNAL.pack(number, tree)


def kill() -> bytes:
    """Return the message: SIGKILL until nothing lives."""
    return _head(_Kind.KILL)


def members(sequence: int) -> bytes:
    """Return the message: who lives?"""
    return _head(_Kind.LIST, sequence)


def write(sequence: int, offset: int, data: bytes, *, end: bool) -> bytes:
    """Return the message: write to the input. Of what is more than WRITE_BYTES, only the beginning is."""
    part = data[:WRITE_BYTES]
    return _head(_Kind.WRITE, sequence) + _WRITE.pack(offset, end and part == data, len(part)) + part


def forget() -> bytes:
    """Return the message: the end that was reported is stored."""
    return _head(_Kind.FORGET)


def decode(data: bytes) -> Message | None:
    """Return what a shim says; None: something that only newer releases know.

    Raises:
        GarbledError: it is no message.
    """
    if len(data) < _HEAD.size:
        raise GarbledError(f"a message of {len(data)} bytes")
    kind, _, known, sequence = _HEAD.unpack_from(data)
    body = data[_HEAD.size :]
    try:
        match kind:
            case _Kind.HELLO:
                token, run = _unpack(_HELLO, body)
                return Hello(token, _name(run), _report(body[_HELLO.size :]))
            case _Kind.REPORT:
                size = known or _REPORT.size
                return _report(body[:size], os.fsdecode(body[size:]))
            case _Kind.ANSWER:
                return Answer(sequence, *_unpack(_ANSWER, body))
            case _Kind.MEMBERS:
                return _members(sequence, body)
            case _Kind.TAKEN:
                closed, _, offset = _unpack(_TAKEN, body)
                return Taken(sequence, bool(closed), offset)
            case _:
                return None
    except ValueError as error:
        raise GarbledError(str(error)) from error


def _encoded(order: Order) -> bytes:
    run = _text(order.run)
    if len(run) >= _RUN_BYTES:
        raise ValueError(f"name of a run: {order.run!r} is too long")
    if any(not name or "=" in name for name in order.env):
        raise ValueError("environment name: empty or with '='")
    strings = (
        order.run_file,
        order.prefix,
        order.cwd,
        *order.directories,
        *order.programs,
        *order.argv,
        *(f"{name}={value}" for name, value in order.env.items()),
        order.sha256,
    )
    uid, gid, groups = order.user or (0, 0, ())
    behind = struct.pack(f"<{len(groups)}I", *groups) + b"".join(_text(each) + b"\0" for each in strings)
    flags = _INPUT * order.open_input | _MERGE * order.merge_output | _CGROUP * order.cgroup
    head = _ORDER.pack(
        VERSION,
        _ORDER.size + len(behind),
        flags | _USER * (order.user is not None),
        len(groups),
        len(order.directories),
        len(order.programs),
        len(order.argv),
        len(order.env),
        uid,
        gid,
        order.mask,
        order.niceness,
        order.oom_score_adj,
        _ORDER.size,
        order.log_bytes,
        order.address_space_bytes,
        order.cpu_seconds,
        order.processes,
        *order.files,
        order.token,
        run,
    )
    return head + behind


def _text(text: str) -> bytes:
    encoded = os.fsencode(text)
    if b"\0" in encoded:  # it would end there: less than was asked for
        raise ValueError("NUL character in an order")
    return encoded


def _head(kind: int, sequence: int = 0) -> bytes:
    return _HEAD.pack(kind, VERSION, 0, sequence)


def _unpack(known: struct.Struct, data: bytes) -> tuple[Any, ...]:
    return known.unpack_from(data.ljust(known.size, b"\0"))


def _name(field: bytes) -> str:
    return field.partition(b"\0")[0].decode(errors="replace")


def _report(data: bytes, path: str = "") -> Report:
    stage, flags, pid, status, error, step, *more = _unpack(_REPORT, data)
    started_at, ended_at, monotonic, user, system, resident, out, err, lost_out, lost_err, output_error, _ = more
    return Report(
        Stage(stage),
        flags,
        pid,
        status,
        error,
        _STEPS.get(step, Phase.SPAWN),
        started_at,
        ended_at,
        monotonic,
        user,
        system,
        resident,
        (out, err),
        (lost_out, lost_err),
        output_error,
        path,
    )


def _members(sequence: int, body: bytes) -> Members:
    total, count = _unpack(_MEMBERS, body)
    found = body[_MEMBERS.size :][: count * _MEMBER.size]
    whole = found[: len(found) // _MEMBER.size * _MEMBER.size]
    return Members(
        sequence,
        total,
        tuple(
            Member(pid, error, chr(state) if 0 < state <= _LETTERS else "?", _name(name))
            for pid, error, state, name in _MEMBER.iter_unpack(whole)
        ),
    )
