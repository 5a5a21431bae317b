"""The record of a run: every call with its start, end, arguments and answer, on one monotonic clock."""

from __future__ import annotations

import asyncio
import dataclasses
import enum
import itertools
import json
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from chaos.seen import Status

_CHANGES = ("launch", "stop", "delete")


class Fate(enum.Enum):
    """What became of a call."""

    ANSWERED = "answered"
    REFUSED = "refused"  # by the site, with a reason of the contract
    NEVER_SENT = "never sent"
    UNKNOWN = "unknown"  # it happened, or not, or it still will


@dataclass(frozen=True, slots=True)
class Launched:
    """The answer of LaunchTask: `spec` is the name of the spec that the site says the task has."""

    status: Status
    created: bool
    spec: str
    digest: str


@dataclass(frozen=True, slots=True)
class Polled:
    """The answer of Poll."""

    statuses: tuple[Status, ...]
    unknown: tuple[str, ...]
    revision: int


@dataclass(frozen=True, slots=True)
class Listed:
    """A page of ListTasks: each task and the name of its spec. `whole`: there was no other page."""

    tasks: tuple[tuple[Status, str], ...]
    whole: bool


@dataclass(frozen=True, slots=True)
class Read:
    """What ReadLogs gave of a task's output, from its beginning."""

    attempt: int
    data: str
    complete: bool


Answer = Status | Launched | Polled | Listed | Read | int | None


@dataclass(frozen=True, slots=True)
class Call:
    """One call. `given` are its arguments; `reason` is that of a refusal, or what the channel said."""

    number: int
    client: str
    verb: str
    task_ids: tuple[str, ...]
    given: Mapping[str, float | str | bool]
    start: float
    end: float
    fate: Fate
    reason: str = ""
    answer: Answer = None

    def __str__(self) -> str:
        given = ", ".join(f"{name}={value}" for name, value in self.given.items())
        told = self.reason if self.fate is not Fate.ANSWERED else _short(self.answer)
        span = f"{self.start:10.4f} to {self.end:10.4f}"
        return f"{span} {self.client:>9} #{self.number} {self.verb}({given}) {self.fate.value}: {told}"


@dataclass(frozen=True, slots=True)
class Change:
    """One message of a watch. `revision` is that of a checkpoint; `deleted` the uid of a deletion."""

    at: float
    status: Status | None = None
    deleted: str = ""
    revision: int = 0


class History:
    """Everything that was said. Used from one event loop."""

    def __init__(self, path: Path) -> None:
        """Write along to this file, a JSON object a line."""
        self.calls: list[Call] = []
        self.watches: dict[str, list[Change]] = {}
        self.counts: Counter[str] = Counter()
        self._numbers = itertools.count(1)
        self._changing = asyncio.Event()
        self._file = path.open("w", encoding="utf-8")
        self._zero = time.monotonic()
        self._wall_zero = time.time()
        self._boot_zero = time.clock_gettime(time.CLOCK_BOOTTIME)

    def now(self) -> float:
        """Return the seconds since this record began."""
        return time.monotonic() - self._zero

    def moment(self, wall: int) -> float:
        """Return nanoseconds of the wall clock, which nobody sets during a run, as seconds of this record."""
        return wall / 1e9 - self._wall_zero

    def since_boot(self, moment: float) -> float:
        """Return a moment of this record as seconds since boot, which is what /proc/uptime tells the tasks."""
        return moment + self._boot_zero

    def begin(self, verb: str) -> int:
        """Return the number of a call that begins now."""
        if verb in _CHANGES:
            self._changing.set()
            self._changing.clear()
        return next(self._numbers)

    async def until_something_changes(self) -> None:
        """Wait for the beginning of a call that may change something."""
        await self._changing.wait()

    def add(self, call: Call) -> None:
        """Record a call that has ended."""
        self.calls.append(call)
        self.counts[f"{call.verb} {call.fate.value}"] += 1
        self._write({"call": dataclasses.asdict(call)})

    def watched(self, watch: str, change: Change) -> None:
        """Record a message of a watch."""
        self.watches.setdefault(watch, []).append(change)
        self._write({"watch": watch, "change": dataclasses.asdict(change)})

    def note(self, event: str, at: float) -> None:
        """Record something that was done to the site."""
        self._write({"event": event, "at": at})

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _write(self, record: Mapping[str, object]) -> None:
        json.dump(record, self._file, default=lambda value: getattr(value, "value", str(value)))
        self._file.write("\n")


def _short(answer: Answer) -> str:
    match answer:
        case Status():
            return f"{answer.uid[-6:]} r{answer.revision} {answer.state} attempt {answer.attempt} pid {answer.pid}"
        case Launched():
            return f"created={answer.created} spec={answer.spec} {_short(answer.status)}"
        case Polled():
            found = "; ".join(_short(each) for each in answer.statuses)
            return f"[{found}] unknown={list(answer.unknown)} revision={answer.revision}"
        case Listed():
            return f"{len(answer.tasks)} tasks, whole={answer.whole}"
        case Read():
            return f"attempt {answer.attempt}, {len(answer.data)} characters, complete={answer.complete}"
        case _:
            return str(answer)
