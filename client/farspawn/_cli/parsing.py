"""Words of the command line as values: spans of time, sizes, signals, NAME=VALUE, states, restart policies.

What is wrong is said in one sentence that shows how it is written.
"""

import re
import shlex
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import TypeVar

import click

from farspawn._values import Cleanup, RestartMode, RestartPolicy, TaskState

T = TypeVar("T")

_UNITS = {
    "d": timedelta(days=1),
    "h": timedelta(hours=1),
    "m": timedelta(minutes=1),
    "s": timedelta(seconds=1),
    "ms": timedelta(milliseconds=1),
}
_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|[dhms])", re.ASCII)
_SECONDS = re.compile(r"[0-9]+(?:\.[0-9]+)?", re.ASCII)
_SIZE = re.compile(r"([0-9]{1,18}(?:\.[0-9]{1,9})?)(?:([kmgt])(?:ib?)?)?", re.ASCII | re.IGNORECASE)
_COUNT = re.compile(r"[0-9]{1,18}", re.ASCII)
_REVISION = re.compile(r"[0-9a-f]{64}", re.ASCII)

# signal(7), x86 and ARM, in order from 1. Python's own table is the one of the
# machine it runs on.
# fmt: off
SIGNAL_NAMES = (
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1",
    "SEGV", "USR2", "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP",
    "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR",
    "SYS",
)
# fmt: on
NUMBER_OF = {name: number for number, name in enumerate(SIGNAL_NAMES, start=1)}
HIGHEST = 64  # the last real-time signal


def option(parse: Callable[[str], T]) -> Callable[[str], T]:
    """Makes a parser's ValueError one that names the option."""

    def convert(text: str) -> T:
        try:
            return parse(text)
        except ValueError as error:
            raise click.BadParameter(str(error)) from error

    return convert


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


def parse_since(text: str) -> datetime:
    """The time of `10m`, which is so long ago, or of one as ISO 8601 writes it; local, if it names no zone.

    Raises:
        ValueError: It is none.
    """
    try:
        return datetime.now(UTC) - parse_span(text)
    except (ValueError, OverflowError):
        pass
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError(f"{text!r} is no time: write 10m, 2h30m, 2026-11-28T09:30 or 2026-11-28T08:30:00Z") from None


def parse_size(text: str) -> int:
    """The bytes of `512M`, `64k`, `1.5G` or `4096`; k, M, G and T are powers of 1024.

    Raises:
        ValueError: It is no size, or less than a byte.
    """
    found = _SIZE.fullmatch(text)
    size = int(Fraction(found[1]) * 1024 ** " kmgt".index((found[2] or " ").lower())) if found else 0
    if size < 1:
        raise ValueError(f"{text!r} is no size: write 512M, 64k, 1.5G or bytes, above 0; k is 1024")
    return size


def parse_count(text: str) -> int:
    """A number above 0.

    Raises:
        ValueError: It is none.
    """
    if not _COUNT.fullmatch(text) or int(text) < 1:
        raise ValueError(f"{text!r} is no number above 0")
    return int(text)


def parse_revision(text: str) -> str:
    """A template's revision.

    Raises:
        ValueError: It is none, or not whole.
    """
    if text and not _REVISION.fullmatch(text.lower()):
        raise ValueError(f"{text!r} is no revision: write all 64 digits, as `farspawn templates --json` has them")
    return text.lower()


def parse_signal(text: str) -> int:
    """The number of `TERM`, `SIGTERM`, `sigterm` or `15`.

    Raises:
        ValueError: There is no such signal.
    """
    if text.isascii() and text.isdigit() and 1 <= int(text) <= HIGHEST:
        return int(text)
    number = NUMBER_OF.get(text.upper().removeprefix("SIG"))
    if number is None:
        raise ValueError(f"{text!r} is no signal: write a name such as TERM or a number from 1 to {HIGHEST}")
    return number


def parse_state(text: str) -> TaskState:
    """The state of `running` or `EXITED`.

    Raises:
        ValueError: There is no such state.
    """
    known = {state.name.lower(): state for state in TaskState if state}
    if text.lower() not in known:
        raise ValueError(f"{text!r} is no state: write {', '.join(known)}")
    return known[text.lower()]


def parse_restart(text: str) -> RestartPolicy:
    """The policy of `no`, `on-failure`, `on-failure:3` or `always`.

    Raises:
        ValueError: There is no such policy.
    """
    mode, colon, most = text.partition(":")
    if mode == "on-failure" and (not colon or (most.isascii() and most.isdigit() and int(most) > 0)):
        return RestartPolicy(RestartMode.ON_FAILURE, max_restarts=int(most or 0))
    if text not in ("no", "always"):
        raise ValueError(f"{text!r} is no restart policy: write no, on-failure, on-failure:N or always")
    return RestartPolicy(RestartMode.ALWAYS if text == "always" else RestartMode.NEVER)


def parse_cleanup(text: str) -> Cleanup:
    """The command, cut into words as a shell does; no shell runs it.

    Raises:
        ValueError: It is none.
    """
    argv = shlex.split(text)
    if not argv:
        raise ValueError("a cleanup command has at least one word")
    return Cleanup(tuple(argv))


def pairs(texts: Iterable[str], environ: Mapping[str, str] | None = None) -> Mapping[str, str]:
    """The names and their values; the last one of a name counts.

    Args:
        texts: As written.
        environ: Where a name without a value gets it from. None: it needs one.

    Raises:
        click.BadParameter: One of them is none.
    """
    found: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not name or (not equals and environ is None):
            raise click.BadParameter(f"{text!r} is not NAME=VALUE")
        if not equals and environ is not None:
            if name not in environ:
                raise click.BadParameter(f"{name} is not set here: write {name}=VALUE")
            value = environ[name]
        found[name] = value
    return found
