"""Signals on a command line, by their Linux names and numbers, whatever system this runs on."""

import click

# signal(7), x86 and ARM, in order from 1. Python's own table is the one of the
# machine it runs on.
# fmt: off
_NAMES = (
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1",
    "SEGV", "USR2", "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP",
    "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR",
    "SYS",
)
# fmt: on
NUMBER_OF = {name: number for number, name in enumerate(_NAMES, start=1)}
HIGHEST = 64  # the last real-time signal


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


def signal_name(number: int) -> str:
    """`SIGTERM` for 15; `signal 40` for one that has no name."""
    return f"SIG{_NAMES[number - 1]}" if 1 <= number <= len(_NAMES) else f"signal {number}"


def signal_number(text: str) -> int:
    """An option's value; see `parse_signal`.

    Raises:
        click.BadParameter: It is none.
    """
    try:
        return parse_signal(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error
