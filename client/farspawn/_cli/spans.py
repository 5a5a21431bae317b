"""Spans of time on a command line: 10s, 1m30s, 2h, 500ms, or seconds."""

import re
from datetime import timedelta

import click

_UNITS = {
    "d": timedelta(days=1),
    "h": timedelta(hours=1),
    "m": timedelta(minutes=1),
    "s": timedelta(seconds=1),
    "ms": timedelta(milliseconds=1),
}
_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|[dhms])", re.ASCII)
_SECONDS = re.compile(r"[0-9]+(?:\.[0-9]+)?", re.ASCII)


def parse_span(text: str) -> timedelta:
    """The span.

    Raises:
        ValueError: It is not one.
    """
    wrong = ValueError(f"{text!r} is no span of time: write 10s, 1m30s, 2h, 500ms or seconds")
    try:
        if _SECONDS.fullmatch(text):
            return timedelta(seconds=float(text))
        parts = _PART.findall(text)
        if not parts or "".join(number + unit for number, unit in parts) != text:
            raise wrong
        return sum((float(number) * _UNITS[unit] for number, unit in parts), timedelta())
    except OverflowError:
        raise wrong from None


def span_text(span: timedelta) -> str:
    """Roughly, in one unit, for people."""
    seconds = max(0, int(span.total_seconds()))
    for unit, length in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length}{unit}"
    return f"{seconds}s"


def span(text: str) -> timedelta:
    """An option's value; see `parse_span`.

    Raises:
        click.BadParameter: It is none.
    """
    try:
        return parse_span(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error
