"""What a caller asks for: values that never change once a task exists, and their digest."""

from __future__ import annotations

import dataclasses
import enum
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import NewType

TaskId = NewType("TaskId", str)
"""A caller's name for a task: unique among the tasks of one owner."""
Uid = NewType("Uid", str)
"""The site's name for a task: unique for ever."""
Owner = NewType("Owner", str)
"""The identity that launched a task."""


class LeaseAction(enum.Enum):
    """What happens to a task whose lease is over."""

    STOP = "stop"
    KILL = "kill"


class StopScope(enum.Enum):
    """Which processes a stop's signal goes to. SIGKILL goes to all of them."""

    TREE = "tree"
    LEADER = "leader"


@dataclass(frozen=True, slots=True)
class StopPlan:
    """How to stop a task: linger, drain, signal, grace, SIGKILL. None: whatever the next in line says."""

    linger: timedelta | None = None
    drain: timedelta | None = None
    signal: int | None = None
    grace: timedelta | None = None
    scope: StopScope | None = None

    def or_else(self, default: StopPlan) -> StopPlan:
        """Return this plan with its gaps filled from another."""
        return StopPlan(
            linger=default.linger if self.linger is None else self.linger,
            drain=default.drain if self.drain is None else self.drain,
            signal=default.signal if self.signal is None else self.signal,
            grace=default.grace if self.grace is None else self.grace,
            scope=default.scope if self.scope is None else self.scope,
        )


@dataclass(frozen=True, slots=True)
class Lease:
    """A claim on a task that must be renewed within `ttl`."""

    ttl: timedelta
    action: LeaseAction = LeaseAction.STOP


class RestartMode(enum.Enum):
    """After which ends a program is started again."""

    NEVER = "never"
    ON_FAILURE = "on_failure"
    ALWAYS = "always"


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """When a program that ended is started again. `max_restarts` counts restarts in a row; 0: no limit."""

    mode: RestartMode = RestartMode.NEVER
    max_restarts: int = 0
    initial_backoff: timedelta = timedelta(seconds=1)
    max_backoff: timedelta = timedelta(minutes=5)
    healthy_after: timedelta = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Cleanup:
    """What runs after each attempt that had a process."""

    argv: tuple[str, ...]
    timeout: timedelta = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Readiness:
    """How to tell that a program is ready: exactly one is set."""

    log_line: str | None = None
    tcp_port: int | None = None
    file: str | None = None


@dataclass(frozen=True, slots=True)
class Resources:
    """What a task may use. 0: what the site allows.

    Attributes:
        address_space_bytes, cpu_seconds, open_files, processes: of one process, see setrlimit(2).
        memory_bytes: of all its processes together.
        niceness: see nice(1).
        log_bytes: kept of each output of each attempt.
    """

    address_space_bytes: int = 0
    cpu_seconds: int = 0
    open_files: int = 0
    processes: int = 0
    memory_bytes: int = 0
    niceness: int = 0
    log_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Spec:
    """What to run. `argv` is empty where a `template` stands in its place, filled in with `parameters`."""

    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    working_directory: str = "/"
    stop: StopPlan = StopPlan()
    max_runtime: timedelta | None = None
    lease: Lease | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    restart: RestartPolicy = RestartPolicy()
    cleanup: Cleanup | None = None
    open_input: bool = False
    readiness: Readiness | None = None
    template: str = ""
    parameters: Mapping[str, str] = field(default_factory=dict)
    template_revision: str = ""
    resources: Resources = Resources()
    merge_output: bool = False

    def digest(self) -> str:
        """Return the SHA-256, in hexadecimal, of the spec in a canonical form.

        Fields at their default are left out, so a field that a later version adds changes no digest of today.
        """
        text = json.dumps(_canonical(self), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode("ascii")).hexdigest()


DEFAULT_OOM_SCORE_ADJ = 500
"""When memory is short, the kernel ends tasks and not the agent."""


@dataclass(frozen=True, slots=True)
class Permit:
    """What the site made of a spec when it let the task in: from then on that is what holds, whatever it changes.

    Attributes:
        terms: what really runs: its template filled in, the site's ceilings taken on.
        template_revision: of the template; empty: none was asked for.
        secrets: more environment, which nobody is shown; gone once the task has ended.
        directories: the task works within these; none: anywhere.
        sha256: what the program's file must have; empty: any.
        cleanup_sha256: the same of the cleanup's program.
        user: to run as; empty: the agent's own.
        oom_score_adj: see proc_pid_oom_score_adj(5).
    """

    terms: Spec
    template_revision: str = ""
    secrets: Mapping[str, str] = field(default_factory=dict)
    directories: tuple[str, ...] = ()
    sha256: str = ""
    cleanup_sha256: str = ""
    user: str = ""
    oom_score_adj: int = DEFAULT_OOM_SCORE_ADJ


def _canonical(value: object) -> object:
    if isinstance(value, timedelta):
        return value // timedelta(microseconds=1)
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, Mapping):
        return dict(value)
    if dataclasses.is_dataclass(value):
        return {
            each.name: _canonical(given)
            for each in dataclasses.fields(value)
            if (given := getattr(value, each.name)) != _default(each)
        }
    return value


def _default(each: dataclasses.Field[object]) -> object:
    if each.default_factory is not dataclasses.MISSING:
        return each.default_factory()
    return each.default
