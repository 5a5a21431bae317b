"""What the tasks themselves wrote, against what the site says of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from chaos.chains import sights
from chaos.findings import Finding
from chaos.history import History, Launched, Listed, Read
from chaos.programs import random_spec
from chaos.seen import Attempt
from chaos.translate import Start

Key = tuple[str, int]
"""Uid and attempt."""

_UPTIME_STEP = 0.02  # /proc/uptime counts hundredths of a second


@dataclass(frozen=True, slots=True)
class Line:
    """A line of evidence; see `chaos.programs`."""

    word: str
    task_id: str
    uid: str
    attempt: int
    pid: int
    since_boot: float
    value: str

    @property
    def key(self) -> Key:
        """Uid and attempt."""
        return self.uid, self.attempt


def read(path: Path) -> list[Line]:
    """Return all lines."""
    if not path.exists():
        return []
    fields = (line.split(" ", 6) for line in path.read_text(encoding="utf-8").splitlines())
    return [
        Line(word, task_id, uid, int(attempt), int(pid), float(up), value)
        for word, task_id, uid, attempt, pid, up, value in fields
    ]


class Evidence:
    """The lines and the attempts, by uid and attempt."""

    def __init__(self, lines: Sequence[Line], history: History) -> None:
        """Sort what there is."""
        self.lines: dict[str, dict[Key, list[Line]]] = defaultdict(lambda: defaultdict(list))
        for line in lines:
            self.lines[line.word][line.key].append(line)
        self.attempts: dict[Key, Attempt] = {}
        self.names: dict[str, str] = {}
        self.history = history
        self._last_attempts: dict[str, int] = {}  # of the tasks whose final state was seen
        self._specs = dict(_specs(history))
        for uid, seen in sights(history).items():
            self.names[uid] = seen[0].status.task_id
            for sight in seen:
                self.attempts |= {(uid, each.number): each for each in sight.status.ended_attempts}
                if sight.status.final:
                    self._last_attempts[uid] = sight.status.attempt

    def spec_of(self, uid: str) -> str | None:
        """Return the name of a task's spec, if anybody was told it."""
        return self._specs.get(uid)

    def starts(self) -> Iterator[Start]:
        """Yield when each attempt began to run."""
        for lines in self.lines["start"].values():
            for line in lines:
                at = line.since_boot - self.history.since_boot(0)
                yield Start(line.task_id, line.uid, line.attempt, at - _UPTIME_STEP, at + _UPTIME_STEP)

    def judge(self, shims_killed: Collection[str]) -> Iterator[Finding]:
        """Yield each contradiction; LOST may be only what belongs to these runs, whose shims were killed."""
        yield from self._more_than_once("start", "an attempt starts at most once")
        yield from self._more_than_once("cleanup", "a cleanup runs at most once an attempt")
        yield from self._without_a_task()
        for key, attempt in self.attempts.items():
            for why in (
                *self._ending(key, attempt),
                *self._cleaned_up(key, attempt),
                *_lost(key, attempt, shims_killed),
            ):
                shown = [str(attempt), *(str(line) for each in self.lines.values() for line in each.get(key, ()))]
                yield Finding("the site says of an end what the task knows", f"{key[0]} attempt {key[1]}: {why}", shown)
        yield from self._logs()

    def _more_than_once(self, word: str, invariant: str) -> Iterator[Finding]:
        for key, lines in self.lines[word].items():
            if len(lines) > 1:
                yield Finding(invariant, f"{key}", [*map(str, lines), str(self.attempts.get(key))])

    def _without_a_task(self) -> Iterator[Finding]:
        launched = {task_id for call in self.history.calls if call.verb == "launch" for task_id in call.task_ids}
        for (uid, number), (line, *_) in self.lines["start"].items():
            why = ""
            if line.task_id not in launched or self.names.get(uid, line.task_id) != line.task_id:
                why = "nobody launched it"
            elif number > self._last_attempts.get(uid, number):
                why = f"it ran, and the task ended with attempt {self._last_attempts[uid]}"
            if why:
                yield Finding("no process without a task", f"{uid} attempt {number}: {why}", [str(line)])

    def _ending(self, key: Key, attempt: Attempt) -> Iterator[str]:
        exits = [int(line.value) for line in self.lines["exit"].get(key, ())]
        if attempt.outcome.code is not None and attempt.outcome.code not in exits:
            yield f"exit code {attempt.outcome.code}, and the task chose {exits or 'none'}"
        if attempt.state == "FAILED" and self.lines["start"].get(key):
            yield "FAILED, and it ran"

    def _cleaned_up(self, key: Key, attempt: Attempt) -> Iterator[str]:
        name = self.spec_of(key[0])
        ran, over = self.lines["cleanup"].get(key, []), self.lines["cleaned"].get(key, [])
        told = attempt.outcome.cleanup
        if name and random_spec(name, "").HasField("cleanup"):
            if attempt.state in ("EXITED", "LOST") and not told:
                yield "it has a cleanup command, and the outcome does not tell of it"
        elif told and name:
            yield f"it has no cleanup command, and the outcome says {told!r}"
        if told.startswith("code ") and [line.value for line in over] != [told.removeprefix("code ")]:
            yield f"cleanup ended with {told!r}, and itself says {[line.value for line in over] or 'nothing'}"
        if attempt.state == "FAILED" and ran:
            yield "a cleanup after what never ran"
        for line in ran:
            outcome = attempt.outcome
            code, signal = ("" if each is None else str(each) for each in (outcome.code, outcome.signal))
            if line.value != f"{attempt.state}:{code}:{signal}":
                yield f"its cleanup was told {line.value}"

    def _logs(self) -> Iterator[Finding]:
        for call in self.history.calls:
            if isinstance(answer := call.answer, Read) and answer.data.startswith("begin "):
                _, uid, attempt = answer.data.splitlines()[0].split()
                if int(attempt) != answer.attempt:
                    yield Finding("an attempt has its own output", str(call), [answer.data[:80]])
                ended = self.lines["exit"].get((uid, int(attempt)))
                if answer.complete and ended and f"end {uid} {attempt}\n" not in answer.data:
                    yield Finding("a complete output is complete", str(call), [answer.data[-80:]])


def _lost(key: Key, attempt: Attempt, shims_killed: Collection[str]) -> Iterator[str]:
    run = f"{key[0]}/{key[1]}"
    if attempt.state == "LOST" and run not in shims_killed:
        yield "LOST, and nobody killed its shim"
    if attempt.outcome.cleanup.endswith("unknown") and f"{run}/cleanup" not in shims_killed:
        yield "what became of its cleanup is unknown, and nobody killed the shim of that"


def _specs(history: History) -> Iterator[tuple[str, str]]:
    for call in history.calls:
        if isinstance(answer := call.answer, Launched):
            yield answer.status.uid, answer.spec
        elif isinstance(answer, Listed):
            yield from ((status.uid, spec) for status, spec in answer.tasks)
