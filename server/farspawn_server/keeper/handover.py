"""What a keeper hands to its next image when it executes itself: its children stay its children, its table goes along.

The table travels through an anonymous file, for an environment or an argument is too small. The next image may be of
another version: unknown fields are ignored and missing ones take their defaults, as in `messages`.
"""

from __future__ import annotations

import dataclasses
import json
import os
from dataclasses import dataclass, field

from farspawn_server.keeper.messages import Holding, holding_of


@dataclass(frozen=True, slots=True)
class Handed:
    """One task.

    `killing`, `forgotten`, `stranger` and `struck` are those of the table; `input` is the descriptor of the
    writing end of its standard input, which outlives the exec, and the offset that was reached; `input_length` that of
    an input that has ended; `pidfd` the descriptor of a stranger's leader that lived.
    """

    holding: Holding
    killing: bool = False
    forgotten: bool = False
    stranger: bool = False
    input: tuple[int, int] | None = None
    input_length: int | None = None
    pidfd: int | None = None
    struck: bool = False


@dataclass(frozen=True, slots=True)
class Handover:
    """A keeper's whole table.

    Attributes:
        keeper: the id of this run of the keeper: it goes on.
        started_at: wall clock, in nanoseconds since 1970.
        images: how often the keeper has executed itself.
        server: the pid of the server, which is about to end; 0: none.
        tasks: every task that was not forgotten.
    """

    keeper: str
    started_at: int
    images: int
    server: int = 0
    tasks: list[Handed] = field(default_factory=list)


def leave(table: Handover) -> int:
    """Write the table and return the descriptor under which the next image finds it."""
    for task in table.tasks:
        if task.input is not None:
            os.set_inheritable(task.input[0], True)
    descriptor = os.memfd_create("farspawn-handover", 0)  # without CLOEXEC: it must outlive the exec
    with os.fdopen(os.dup(descriptor), "w", encoding="ascii") as file:
        json.dump(dataclasses.asdict(table), file)
    return descriptor


def take(descriptor: int) -> Handover:
    """Read the table that the last image left, and close it."""
    os.lseek(descriptor, 0, os.SEEK_SET)
    with os.fdopen(descriptor, encoding="ascii") as file:
        fields = json.load(file)
    for task in fields["tasks"]:
        if task.get("input"):
            os.set_inheritable(task["input"][0], False)
    return Handover(
        keeper=fields["keeper"],
        started_at=fields["started_at"],
        images=fields["images"],
        server=fields.get("server", 0),
        tasks=[
            Handed(
                holding=holding_of(task["holding"]),
                killing=task.get("killing", False),
                forgotten=task.get("forgotten", False),
                stranger=task.get("stranger", False),
                input=tuple(task["input"]) if task.get("input") else None,
                input_length=task.get("input_length"),
                pidfd=task.get("pidfd"),
                struck=task.get("struck", False),
            )
            for task in fields["tasks"]
        ],
    )
