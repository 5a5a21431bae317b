"""What a task may use, by the names of `--limit`: read from the command line, and told to people."""

from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

import click

from farspawn._cli.parsing import pairs, parse_count, parse_size, parse_span
from farspawn._cli.words import size_text, span_exactly
from farspawn._values import Resources

T = TypeVar("T")

NAMES = ("memory", "address-space", "cpu-time", "open-files", "processes", "niceness", "log-bytes")


def parse_limits(texts: Iterable[str]) -> Resources:
    """The resources of `memory=512M`, `cpu-time=1h`; the last one of a name counts.

    Raises:
        click.BadParameter: One of them is none.
    """
    given = pairs(texts)
    for name in given:
        if name not in NAMES:
            raise click.BadParameter(f"there is no limit {name!r}: write {', '.join(NAMES)}")
    cpu_time = _read(given, "cpu-time", parse_span)
    if cpu_time is not None and not cpu_time:
        raise click.BadParameter("cpu-time: a span above 0")  # 0 would be read as no limit of its own
    return Resources(
        memory_bytes=_read(given, "memory", parse_size) or 0,
        address_space_bytes=_read(given, "address-space", parse_size) or 0,
        cpu_time=cpu_time,
        open_files=_read(given, "open-files", parse_count) or 0,
        processes=_read(given, "processes", parse_count) or 0,
        niceness=_read(given, "niceness", parse_count) or 0,
        log_bytes=_read(given, "log-bytes", parse_size) or 0,
    )


def _read(given: Mapping[str, str], name: str, parse: Callable[[str], T]) -> T | None:
    if name not in given:
        return None
    try:
        return parse(given[name])
    except ValueError as error:
        raise click.BadParameter(f"{name}: {error}") from error


def limits_text(resources: Resources) -> str:
    """For instance `memory 512M, cpu-time 1h`; empty: no limits."""
    told = (
        ("memory", resources.memory_bytes and size_text(resources.memory_bytes)),
        ("address-space", resources.address_space_bytes and size_text(resources.address_space_bytes)),
        ("cpu-time", resources.cpu_time and span_exactly(resources.cpu_time)),
        ("open-files", resources.open_files),
        ("processes", resources.processes),
        ("niceness", resources.niceness and f"{resources.niceness} or more"),
        ("log-bytes", resources.log_bytes and size_text(resources.log_bytes)),
    )
    return ", ".join(f"{name} {text}" for name, text in told if text)
