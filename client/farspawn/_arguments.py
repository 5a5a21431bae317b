"""What callers may give in more than one form, or leave out: made into what is sent."""

import secrets
import time
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import TypeAlias

from farspawn import _values as values

Timeout: TypeAlias = timedelta | float | None
"""A span, or a number of seconds as the standard library has it; None: no limit."""


def span_of(timeout: Timeout) -> timedelta | None:
    """The span.

    Raises:
        ValueError: It is negative or not a number.
    """
    span = timedelta(seconds=timeout) if isinstance(timeout, int | float) else timeout
    if span is not None and span < timedelta():
        raise ValueError(f"a timeout is not negative: {timeout}")
    return span


def several(texts: Iterable[str]) -> tuple[str, ...]:
    """The texts; a single string, which Python would take letter by letter, is a TypeError."""
    if isinstance(texts, str):
        raise TypeError(f"a list of strings is wanted, not one string: {texts!r}")
    return tuple(texts)


def spec_of(
    argv: Iterable[str] = (),
    *,
    template: str = "",
    parameters: Mapping[str, str | int] | None = None,
    template_revision: str = "",
    env: Mapping[str, str] | None = None,
    working_directory: str = "",
    stop: values.StopPlan | None = None,
    max_runtime: timedelta | None = None,
    lease: values.Lease | None = None,
    labels: Mapping[str, str] | None = None,
    restart: values.RestartPolicy | None = None,
    cleanup: values.Cleanup | None = None,
    open_input: bool = False,
    readiness: values.Readiness | None = None,
    resources: values.Resources | None = None,
    merge_output: bool = False,
) -> values.TaskSpec:
    """The spec that `launch` was given piece by piece."""
    return values.TaskSpec(
        argv=several(argv),
        env=dict(env or {}),
        working_directory=working_directory,
        stop=stop or values.StopPlan(),
        max_runtime=max_runtime,
        lease=lease,
        labels=dict(labels or {}),
        restart=restart,
        cleanup=replace(cleanup, argv=several(cleanup.argv)) if cleanup is not None else None,
        open_input=open_input,
        readiness=readiness,
        template=template,
        parameters={name: str(value) for name, value in (parameters or {}).items()},
        template_revision=template_revision,
        resources=resources or values.Resources(),
        merge_output=merge_output,
    )


def new_task_id() -> str:
    """A UUIDv7 (RFC 9562, 5.7): ordered by time to the millisecond, random otherwise."""
    # The standard library has uuid7 from Python 3.14 only.
    milliseconds = time.time_ns() // 1_000_000
    value = (milliseconds & ((1 << 48) - 1)) << 80
    value |= 0x7 << 76  # version
    value |= secrets.randbits(12) << 64
    value |= 0b10 << 62  # variant
    value |= secrets.randbits(62)
    return str(uuid.UUID(int=value))
