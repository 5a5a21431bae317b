"""What makes a request well-formed, whoever asks and whatever the site allows."""

from __future__ import annotations

import dataclasses
import itertools
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sized
from datetime import timedelta

from farspawn_server.task.errors import SpecInvalidError, Violation
from farspawn_server.task.spec import Readiness, Resources, RestartPolicy, Spec, StopPlan

MAX_SPAN = timedelta(days=3650)
MAX_COMMAND_BYTES = 1 << 20
"""Of argv and env together, counted as execve(2) counts: each string with its NUL, and 8 bytes for the pointer to it.
Linux itself takes a quarter of the stack limit, mostly 2 MiB."""
_BYTES_PER_STRING = 9
MAX_COMMAND_STRINGS = MAX_COMMAND_BYTES // _BYTES_PER_STRING
# MAX_ARG_STRLEN of the kernel: execve(2) refuses one longer string with E2BIG whatever else there is.
MAX_STRING_BYTES = 128 * 1024 - 1
MAX_LABELS = 64
_VIOLATIONS_TOLD = 20
RESERVED_PREFIX = "FARSPAWN_"
LAST_SIGNAL = 64
LAST_PORT = 65535
MAX_PATTERN_BYTES = 1024
MAX_TEMPLATE_NAME = 64
MAX_PATH_BYTES = 4096
LEAST_LOG_BYTES = 64 * 1024
MAX_RESOURCE = 1 << 60
MOST_RESOURCES = {"niceness": 19, "open_files": 1 << 30, "processes": 1 << 22, "cpu_seconds": 3650 * 86_400}

# Callers' text: each of these walks through it once, without a choice to come back to.
_TASK_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}")
_LABEL_KEY = re.compile(r"[A-Za-z0-9._/-]{1,63}")
_LABEL_VALUE = re.compile(r"[^\x00-\x1f\x7f-\x9f]{0,256}")


def refuse_if_any(violations: Iterable[Violation]) -> None:
    """Raise SpecInvalidError with the first of them, if there are any."""
    if some := [*itertools.islice(violations, _VIOLATIONS_TOLD)]:
        raise SpecInvalidError(some)


def refuse_too_many_strings(count: int) -> None:
    """Raise SpecInvalidError if so many strings are too many for any command, before any of them is looked at."""
    if count > MAX_COMMAND_STRINGS:
        raise SpecInvalidError([_too_long(count * _BYTES_PER_STRING)])


def refuse_too_many_labels(labels: Sized, field: str) -> None:
    """Raise SpecInvalidError if these are more labels than a task has, before any of them is looked at."""
    if len(labels) > MAX_LABELS:
        raise SpecInvalidError([Violation(field, f"{len(labels)} labels, at most {MAX_LABELS}")])


def bad_launch(task_id: str, spec: Spec, secrets: Mapping[str, str]) -> Iterator[Violation]:
    """Yield what is wrong with a LaunchTask. An empty task id is right: the site makes one."""
    if task_id:
        yield from _bad_task_id(task_id, "task_id")
    yield from _bad_command(spec, secrets)
    yield from _bad_env_names(spec.env, "spec.env")
    yield from _bad_env_names(secrets, "secrets")
    for name in spec.env.keys() & secrets.keys():
        yield Violation(f"secrets[{name[:64]!r}]", "is in spec.env too: give it once")
    yield from _bad_directory(spec.working_directory)
    yield from bad_plan(spec.stop, "spec.stop")
    yield from _bad_span(spec.max_runtime, "spec.max_runtime", at_least=timedelta(milliseconds=1))
    if spec.lease is not None:
        yield from _bad_span(spec.lease.ttl, "spec.lease.ttl", at_least=timedelta(seconds=1))
    yield from _bad_labels(spec.labels, "spec.labels")
    yield from _bad_restart(spec.restart)
    if spec.cleanup is not None:
        yield from _bad_argv(spec.cleanup.argv, "spec.cleanup.argv")
        yield from _bad_span(spec.cleanup.timeout, "spec.cleanup.timeout", at_least=timedelta(milliseconds=1))
    if spec.readiness is not None:
        yield from _bad_readiness(spec.readiness)
    yield from _bad_template(spec)
    yield from _bad_resources(spec.resources)


def bad_plan(plan: StopPlan, field: str) -> Iterator[Violation]:
    """Yield what is wrong with a stop plan."""
    yield from _bad_span(plan.linger, f"{field}.linger")
    yield from _bad_span(plan.drain, f"{field}.drain")
    yield from _bad_span(plan.grace, f"{field}.grace")
    if plan.signal is not None:
        yield from bad_signal(plan.signal, f"{field}.signal")


def bad_signal(number: int, field: str) -> Iterator[Violation]:
    """Yield what is wrong with a signal number."""
    if not 1 <= number <= LAST_SIGNAL:
        yield Violation(field, f"{number} is no Linux signal: give a number from 1 to {LAST_SIGNAL}")


def _bad_task_id(task_id: str, field: str) -> Iterator[Violation]:
    if not _TASK_ID.fullmatch(task_id):
        yield Violation(field, "give 1 to 128 characters of A-Z a-z 0-9 . _ : -, the first a letter or digit")


def _bad_command(spec: Spec, secrets: Mapping[str, str]) -> Iterator[Violation]:
    cleanup = () if spec.cleanup is None else spec.cleanup.argv
    maps = {"spec.env": spec.env, "secrets": secrets, "spec.parameters": spec.parameters}
    count = len(spec.argv) + len(cleanup) + sum(map(len, maps.values()))
    if spec.argv or not spec.template:
        yield from _bad_argv(spec.argv, "spec.argv")
    total = count * _BYTES_PER_STRING + sum(len(os.fsencode(argument)) for argument in (*spec.argv, *cleanup))
    for field, given in maps.items():
        for name, value in given.items():
            total += len(os.fsencode(name)) + len(os.fsencode(value)) + 1
            yield from _bad_string(f"{name}={value}", f"{field}[{name[:64]!r}]")
    if total > MAX_COMMAND_BYTES:
        yield _too_long(total)


def _too_long(total: int) -> Violation:
    return Violation("spec.argv", f"with env {total} bytes, at most {MAX_COMMAND_BYTES}: pass a file instead")


def _bad_argv(argv: tuple[str, ...], field: str) -> Iterator[Violation]:
    if not argv or not argv[0]:
        yield Violation(field, "give at least the program's name")
    for index, argument in enumerate(argv):
        yield from _bad_string(argument, f"{field}[{index}]")


def _bad_restart(policy: RestartPolicy) -> Iterator[Violation]:
    if policy.max_restarts < 0:
        yield Violation("spec.restart.max_restarts", "not negative; 0 is no limit")
    # A program that ends at once must not keep the site busy with starting it.
    yield from _bad_span(policy.initial_backoff, "spec.restart.initial_backoff", at_least=timedelta(milliseconds=10))
    yield from _bad_span(policy.max_backoff, "spec.restart.max_backoff", at_least=timedelta(milliseconds=10))
    yield from _bad_span(policy.healthy_after, "spec.restart.healthy_after")


def _bad_readiness(check: Readiness) -> Iterator[Violation]:
    if check == Readiness():
        yield Violation("spec.readiness", "give one check: log_line, tcp_port or file")
    if check.log_line is not None and not 1 <= len(check.log_line.encode()) <= MAX_PATTERN_BYTES:
        yield Violation("spec.readiness.log_line", f"give 1 to {MAX_PATTERN_BYTES} bytes")
    if check.tcp_port is not None and not 1 <= check.tcp_port <= LAST_PORT:
        yield Violation("spec.readiness.tcp_port", f"give a port from 1 to {LAST_PORT}")
    if check.file is not None and (
        not check.file.startswith("/") or "\0" in check.file or len(os.fsencode(check.file)) > MAX_PATH_BYTES
    ):
        yield Violation("spec.readiness.file", f"give an absolute path of at most {MAX_PATH_BYTES} bytes")


def _bad_string(text: str, field: str) -> Iterator[Violation]:
    if "\0" in text:
        yield Violation(field, "holds a NUL character, which ends a string for the kernel")
    if len(os.fsencode(text)) > MAX_STRING_BYTES:
        yield Violation(field, f"longer than {MAX_STRING_BYTES} bytes, the kernel's limit for one string")


def _bad_env_names(env: Mapping[str, str], field: str) -> Iterator[Violation]:
    for name in env:
        if not name or "=" in name:
            yield Violation(f"{field}[{name[:64]!r}]", "a name is not empty and holds no '='")
        elif name.startswith(RESERVED_PREFIX):
            yield Violation(f"{field}[{name[:64]!r}]", f"names that begin with {RESERVED_PREFIX} are the site's own")


def _bad_template(spec: Spec) -> Iterator[Violation]:
    if len(spec.template_revision) > MAX_TEMPLATE_NAME:
        yield Violation("spec.template_revision", f"at most {MAX_TEMPLATE_NAME} characters")
    if len(spec.template) > MAX_TEMPLATE_NAME:
        yield Violation("spec.template", f"at most {MAX_TEMPLATE_NAME} characters")
    if not spec.template and (spec.parameters or spec.template_revision):
        yield Violation("spec.template", "name the template that the parameters and the revision are for")


def _bad_resources(resources: Resources) -> Iterator[Violation]:
    for each in dataclasses.fields(Resources):
        given = getattr(resources, each.name)
        if not 0 <= given <= MOST_RESOURCES.get(each.name, MAX_RESOURCE):
            most = MOST_RESOURCES.get(each.name, MAX_RESOURCE)
            yield Violation(f"spec.resources.{each.name}", f"from 0 to {most}; 0: what the site allows")
    if 0 < resources.log_bytes < LEAST_LOG_BYTES:
        yield Violation("spec.resources.log_bytes", f"at least {LEAST_LOG_BYTES}")


def _bad_directory(path: str) -> Iterator[Violation]:
    if not path.startswith("/") or "\0" in path or len(os.fsencode(path)) > MAX_PATH_BYTES:
        yield Violation(
            "spec.working_directory", f"give an absolute path of at most {MAX_PATH_BYTES} bytes, or nothing for /"
        )


def _bad_span(span: timedelta | None, field: str, at_least: timedelta = timedelta(0)) -> Iterator[Violation]:
    if span is not None and not at_least <= span <= MAX_SPAN:
        yield Violation(field, f"from {at_least.total_seconds():g} s to {MAX_SPAN.days} days")


def _bad_labels(labels: Mapping[str, str], field: str) -> Iterator[Violation]:
    for key, value in labels.items():
        if not _LABEL_KEY.fullmatch(key):
            yield Violation(f"{field}[{key[:64]!r}]", "a key has 1 to 63 characters of A-Z a-z 0-9 . _ - /")
        if not _LABEL_VALUE.fullmatch(value):
            yield Violation(f"{field}[{key[:64]!r}]", "a value has at most 256 characters and no control characters")
