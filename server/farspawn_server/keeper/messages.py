"""What the keeper and the server say to each other, and how it is framed.

A frame is four bytes of length, big-endian, then one JSON object whose "kind" names the class. The keeper may be older
than the server after an upgrade, and newer after a rollback: a field that is unknown is ignored, one that is missing
takes its default, and a kind that is unknown is skipped.

The keeper's knowledge of a task is one `Holding`. It is sent whole whenever it changes, and all of them again in
`Hello` when a server connects: a server that missed everything learns it from there, by the same code.
"""

from __future__ import annotations

import base64
import dataclasses
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TypeVar

_LENGTH_BYTES = 4


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a process could not be started; `phase` is a value of `farspawn_core.Phase`."""

    error_number: int
    phase: str
    path: str


@dataclass(frozen=True, slots=True)
class Spent:
    """What the leader and the descendants that it waited for used, by wait4(2)."""

    user_seconds: float
    system_seconds: float
    max_resident_bytes: int


@dataclass(frozen=True, slots=True)
class Ended:
    """How the leader ended.

    Attributes:
        at: when: wall clock, in nanoseconds since 1970.
        code: the exit code.
        signal: the number of the signal that ended it.
        core_dumped: the kernel wrote a core dump.
        spent: what it used.
        out_of_memory: the kernel killed somebody of the run for want of memory: "yes", "no", "likely", "unknown".
    """

    at: int
    code: int | None = None
    signal: int | None = None
    core_dumped: bool = False
    spent: Spent | None = None
    out_of_memory: str = "unknown"


@dataclass(frozen=True, slots=True)
class Outputs:
    """What became of standard output and standard error, in this order.

    Attributes:
        written: sizes of the files, in bytes.
        lost: bytes that no file took.
        error_number: of the last write that failed, while nothing can be written; 0: all is well.
    """

    written: list[int] = field(default_factory=lambda: [0, 0])
    lost: list[int] = field(default_factory=lambda: [0, 0])
    error_number: int = 0


@dataclass(frozen=True, slots=True)
class Holding:
    """Keeper to server: all that is known of one run.

    Attributes:
        uid: the run's.
        pid: the leader's; 0 while it is being started, and if that failed.
        started_at: wall clock, in nanoseconds since 1970; 0: not started.
        started_monotonic: the same on CLOCK_MONOTONIC.
        failure: why it never started.
        ended: how the leader ended.
        alive: something of the run lives.
        lost: its shim was killed: how the leader ended, or will end, nobody knows.
        shut_down: the keeper began to kill it without being told: the owner asked for a shutdown twice.
        outputs: None: nothing was told of them yet.
    """

    uid: str
    pid: int = 0
    started_at: int = 0
    started_monotonic: int = 0
    failure: Failure | None = None
    ended: Ended | None = None
    alive: bool = True
    lost: bool = False
    shut_down: bool = False
    outputs: Outputs | None = None


@dataclass(frozen=True, slots=True)
class Hello:
    """Keeper to server, first of all: who the keeper is and what it holds.

    Attributes:
        keeper: an id of this run of the keeper.
        boot: the kernel's boot id.
        started_at: of the keeper, wall clock, in nanoseconds since 1970.
        draining: the site's owner has asked for a shutdown.
        tiers: how what a task started is contained: "subreaper", "cgroup".
        controllers: what the cgroups of tasks can limit: "memory", "pids".
        holdings: every run that was not forgotten.
    """

    keeper: str
    boot: str
    started_at: int
    draining: bool = False
    tiers: list[str] = field(default_factory=list)
    controllers: list[str] = field(default_factory=list)
    holdings: list[Holding] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Drain:
    """Keeper to server: the site's owner asks for a shutdown."""


@dataclass(frozen=True, slots=True)
class Reconfigure:
    """Keeper to server: the site's owner has changed the settings: read them again."""


@dataclass(frozen=True, slots=True)
class Ping:
    """Keeper to server: does your loop live? The answer is a Pong."""


@dataclass(frozen=True, slots=True)
class Pong:
    """Server to keeper: it does."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Keeper to server: the answer to `Signal` or `Members`.

    Attributes:
        reached: how many processes were signalled.
        members: pid, name, state as in proc_pid_stat(5), and the errno of the last signal that the kernel refused or 0.
    """

    sequence: int
    reached: int = 0
    members: list[tuple[int, str, str, int]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class InputTaken:
    """Keeper to server: the answer to `Write`: how much of the input the task's pipe has taken in all."""

    sequence: int
    offset: int
    closed: bool = False


@dataclass(frozen=True, slots=True)
class Write:
    """Server to keeper: write to a task's input. `data` is in base64; its first byte has the place `offset`."""

    sequence: int
    uid: str
    offset: int
    data: str
    end: bool

    def bytes(self) -> bytes:
        """Return the data."""
        return base64.b64decode(self.data)


@dataclass(frozen=True, slots=True)
class User:
    """Whom a process runs as, in numbers: the keeper looks nobody up."""

    name: str
    uid: int
    gid: int
    groups: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Confinement:
    """What the site's owner imposes on a process, looked at when it is started.

    Attributes:
        directories: its working directory must be within one of these, symbolic links resolved; none: anywhere.
        sha256: of its program's file, in lower-case hexadecimal; empty: any.
        user: that it runs as; None: the agent's own.
        address_space_bytes, cpu_seconds, open_files: resource limits, see setrlimit(2); 0: the agent's own.
        processes: of all its processes and threads together, by pids.max or, for a user of its own, RLIMIT_NPROC.
        memory_bytes: of all its processes together, by memory.max; 0: no limit.
        niceness: see nice(1); 0: the agent's own.
        oom_score_adj: see proc_pid_oom_score_adj(5).
    """

    directories: list[str] = field(default_factory=list)
    sha256: str = ""
    user: User | None = None
    address_space_bytes: int = 0
    cpu_seconds: int = 0
    open_files: int = 0
    processes: int = 0
    memory_bytes: int = 0
    niceness: int = 0
    oom_score_adj: int = 500


@dataclass(frozen=True, slots=True)
class Spawn:
    """Server to keeper: start a run, once, whoever was told so before. The answer is a Holding.

    Attributes:
        uid: the run's: TASK_UID/ATTEMPT, or TASK_UID/ATTEMPT/cleanup.
        cwd: its working directory.
        prefix: of its output files, without `.stdout` and `.stderr`; relative to the state directory.
        open_input: its standard input is a pipe for `Write`; else it is empty.
        merge_output: standard error goes where standard output goes, in order.
        log_bytes: kept of each output.
        mask: its umask.
    """

    uid: str
    argv: list[str]
    env: dict[str, str]
    cwd: str
    prefix: str
    open_input: bool = False
    merge_output: bool = False
    log_bytes: int = 1 << 30
    mask: int = 0o022
    confinement: Confinement = field(default_factory=Confinement)


@dataclass(frozen=True, slots=True)
class Signal:
    """Server to keeper: signal the leader, or everything of the run. The answer is an Answer."""

    sequence: int
    uid: str
    number: int
    tree: bool


@dataclass(frozen=True, slots=True)
class Kill:
    """Server to keeper: SIGKILL until nothing of the task is left."""

    uid: str


@dataclass(frozen=True, slots=True)
class Members:
    """Server to keeper: who is alive in the tree?"""

    sequence: int
    uid: str


@dataclass(frozen=True, slots=True)
class Forget:
    """Server to keeper: what you told of this task is stored."""

    uid: str


@dataclass(frozen=True, slots=True)
class Finished:
    """Server to keeper: the shutdown is done; end when I end."""


Message = (
    Hello
    | Holding
    | Drain
    | Reconfigure
    | Ping
    | Pong
    | Answer
    | InputTaken
    | Write
    | Spawn
    | Signal
    | Kill
    | Members
    | Forget
    | Finished
)
_KINDS: dict[str, type[Message]] = {
    kind.__name__: kind
    for kind in (
        Hello,
        Holding,
        Drain,
        Reconfigure,
        Ping,
        Pong,
        Answer,
        InputTaken,
        Write,
        Spawn,
        Signal,
        Kill,
        Members,
        Forget,
        Finished,
    )
}
_FIELDS: dict[type, frozenset[str]] = {
    kind: frozenset(each.name for each in dataclasses.fields(kind))
    for kind in (*_KINDS.values(), Failure, Ended, Spent, Outputs, Confinement, User)
}
# What of it goes over the wire, if it is not the default: names and defaults, in the same order.
_WORDS: dict[type, tuple[tuple[str, object], ...]] = {
    kind: tuple((each.name, each.default) for each in dataclasses.fields(kind)) for kind in _FIELDS
}
_T = TypeVar("_T")


def _fields(value: object) -> dict[str, object]:
    # `dataclasses.asdict` would copy all values deeply, at five times the cost of the rest. What is missing is read as
    # the default: so that needs no word.
    return {name: said for name, default in _WORDS[type(value)] if (said := getattr(value, name)) != default}


_TO_JSON = json.JSONEncoder(separators=(",", ":"), default=_fields, check_circular=False)


def encode(message: Message) -> bytes:
    """Return the frame of a message."""
    text = _TO_JSON.encode({"kind": type(message).__name__} | _fields(message))
    body = text.encode("ascii")  # json escapes the rest, lone surrogates of undecodable names included
    return len(body).to_bytes(_LENGTH_BYTES, "big") + body


class Decoder:
    """Turns bytes, cut anywhere, into messages."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[Message]:
        """Take more bytes and yield the messages that they complete."""
        self._buffer += data
        while len(self._buffer) >= _LENGTH_BYTES:
            end = _LENGTH_BYTES + int.from_bytes(self._buffer[:_LENGTH_BYTES], "big")
            if len(self._buffer) < end:
                return
            fields = json.loads(self._buffer[_LENGTH_BYTES:end])
            del self._buffer[:end]
            kind = _KINDS.get(fields.pop("kind", ""))
            if kind is not None:
                yield _build(kind, fields)


def holding_of(fields: dict[str, object]) -> Holding:
    """Return the Holding whose fields these are."""
    if isinstance(failure := fields.get("failure"), dict):
        fields = {**fields, "failure": _make(Failure, failure)}
    if isinstance(ended := fields.get("ended"), dict):
        spent = ended.get("spent")
        fields = {**fields, "ended": _make(Ended, {**ended, "spent": _make(Spent, spent) if spent else None})}
    if isinstance(outputs := fields.get("outputs"), dict):
        fields = {**fields, "outputs": _make(Outputs, outputs)}
    return _make(Holding, fields)


def _build(kind: type[Message], fields: dict[str, object]) -> Message:
    if kind is Holding:
        return holding_of(fields)
    if kind is Hello:
        held = fields.get("holdings", [])
        assert isinstance(held, list)
        fields["holdings"] = [holding_of(holding) for holding in held]
    if kind is Spawn and isinstance(confinement := fields.get("confinement"), dict):
        user = confinement.get("user")
        fields["confinement"] = _make(Confinement, {**confinement, "user": _make(User, user) if user else None})
    return _make(kind, fields)


def _make(kind: type[_T], fields: dict[str, object]) -> _T:
    names = _FIELDS[kind]
    if not names.issuperset(fields):  # another version's
        fields = {name: value for name, value in fields.items() if name in names}
    return kind(**fields)
