"""What the audit holds of one call: who, from where, what, and what became of it.

Never in it: arguments after the program, environment, secrets, input, output. Of argv there is a digest.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

ACCEPTED = "accepted"
"""The outcome of what is about to be done. If it comes to nothing after all, another line says why."""
EXISTING = "existing"
"""The outcome of a LaunchTask that found its task and started nothing."""

_LONGEST = 256
_LONGEST_IDENTITY = 2048  # that of a SPIFFE id, in bytes: two identities must not become one


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A mutating call, or a denial of any call. Empty: not known, or there is none.

    Attributes:
        at: when, in nanoseconds of the wall clock.
        identity: who called.
        peer: from where, as gRPC says it.
        rpc: the method of the contract.
        outcome: ACCEPTED, EXISTING, or the reason of the refusal.
        task_id: the task's id, or what the caller gave for one.
        uid: of the task, if there is one.
        template: the site's template that the caller named.
        template_revision: of it; of a refused call, the one that was demanded.
        program: argv[0].
        argv_sha256: see `argv_digest`.
        rule: which rule or limit of the site refused.
    """

    at: int
    identity: str
    peer: str
    rpc: str
    outcome: str
    task_id: str = ""
    uid: str = ""
    template: str = ""
    template_revision: str = ""
    program: str = ""
    argv_sha256: str = ""
    rule: str = ""

    def fields(self) -> Iterator[tuple[str, str]]:
        """Yield the names and texts of a line; what a caller chose is cut to a bound, with a mark."""
        yield "time", _rfc3339(self.at)
        yield "identity", _cut(self.identity, _LONGEST_IDENTITY)
        yield "peer", _cut(self.peer)
        yield "rpc", self.rpc
        if self.task_id:
            yield "task_id", _cut(self.task_id)
        if self.uid:
            yield "uid", self.uid
        if self.template:
            yield "template", _cut(self.template)
        if self.template_revision:
            yield "template_revision", _cut(self.template_revision)
        if self.program:
            yield "program", _cut(self.program)
        if self.argv_sha256:
            yield "argv_sha256", self.argv_sha256
        yield "outcome", self.outcome
        if self.rule:
            yield "rule", _cut(self.rule)


def argv_digest(argv: Iterable[str]) -> str:
    r"""Return the SHA-256, in hexadecimal, of each argument in UTF-8 followed by a NUL.

    That is what Linux shows of a process that has not changed it: `sha256sum </proc/PID/cmdline`, and what
    `printf '%s\0' PROGRAM ARGUMENT... | sha256sum` says.
    """
    return hashlib.sha256(b"".join(each.encode(errors="surrogateescape") + b"\0" for each in argv)).hexdigest()


def _rfc3339(nanoseconds: int) -> str:
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest // 1000:06d}Z"


def _cut(text: str, most: int = _LONGEST) -> str:
    return text if len(text) <= most else f"{text[:most]}... ({len(text)} characters)"
