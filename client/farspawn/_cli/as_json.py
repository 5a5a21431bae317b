"""The library's values as JSON.

Names are those of the values' fields, enumerations their members' names, spans
and times as Protobuf writes them ("1.5s", RFC 3339). Bytes are text where they
are UTF-8, else base64 in a field of that name.
"""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import TypeAlias

import click

from farspawn._values import LogChunk, LogStream

Json: TypeAlias = "bool | int | float | str | Sequence[Json] | Mapping[str, Json] | None"


def to_json(value: object) -> Json:
    """A value of this library as JSON.

    Raises:
        TypeError: It has none.
    """
    match value:
        case Enum():
            return value.name
        case None | bool() | int() | float() | str():
            return value
        case timedelta():
            return f"{value.total_seconds():.6f}".rstrip("0").rstrip(".") + "s"
        case datetime():
            return value.isoformat().replace("+00:00", "Z")
        case Mapping():
            return {str(name): to_json(item) for name, item in value.items()}
        case list() | tuple():
            return [to_json(item) for item in value]
        case _ if is_dataclass(value) and not isinstance(value, type):
            return {field.name: to_json(getattr(value, field.name)) for field in fields(value)}
        case _:
            raise TypeError(f"no JSON for {type(value).__name__}")


def log_line(stream: LogStream, line: LogChunk, *, timed: bool = False) -> Mapping[str, Json]:
    """A line of a task's output; `timed`: and when it came, in which attempt."""
    try:
        content = {"text": line.data.decode()}
    except UnicodeDecodeError:
        content = {"base64": base64.b64encode(line.data).decode("ascii")}
    times = {"attempt": line.attempt, "written_at": to_json(line.written_at)} if timed else {}
    return {"stream": stream.name.lower(), "offset": line.offset, **times, **content}


def print_document(value: object) -> None:
    """One JSON document on standard output."""
    click.echo(_dumped(value, indent=2))


def print_record(value: object, *, to_stderr: bool = False) -> None:
    """One JSON object in a line of its own."""
    click.echo(_dumped(value), err=to_stderr)


def _dumped(value: object, indent: int | None = None) -> str:
    # ASCII only, controls escaped: harmless for a terminal, but for the one
    # control that json passes.
    return json.dumps(to_json(value), indent=indent).replace("\x7f", "\\u007f")
