"""Commands that a site's owner wrote, for callers to name."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class IntegerRange:
    """A range of integers.

    Attributes:
        minimum: The least that is in it.
        maximum: The greatest that is in it.
    """

    minimum: int
    maximum: int


@dataclass(frozen=True, slots=True)
class Parameter:
    """A value that a caller gives. One of pattern, choices and integers says what it may be.

    Attributes:
        name: Its name.
        pattern: A regular expression that the value must match, whole; empty: see the others.
        choices: What the value may be; empty: see the others.
        integers: The value must be a decimal integer in this range; None: see the others.
        default_value: The value if none is given; None: it must be given.
    """

    name: str
    pattern: str = ""
    choices: tuple[str, ...] = ()
    integers: IntegerRange | None = None
    default_value: str | None = None


@dataclass(frozen=True, slots=True)
class Template:
    """A command that the site's owner wrote: `Client.launch` takes its name, and values for its parameters.

    Attributes:
        name: Its name.
        revision: SHA-256 over all of it, in hexadecimal: changes with every change of it.
        description: For people.
        parameters: What a caller gives.
    """

    name: str
    revision: str
    description: str = ""
    parameters: tuple[Parameter, ...] = ()
