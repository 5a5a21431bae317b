"""NAME=VALUE on a command line."""

import os
from collections.abc import Iterable, Mapping

import click


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


def _labels(_: click.Context, __: click.Parameter, values: tuple[str, ...]) -> Mapping[str, str]:
    return pairs(values)


def _env(_: click.Context, __: click.Parameter, values: tuple[str, ...]) -> Mapping[str, str]:
    return pairs(values, os.environ)


label_option = click.option(
    "--label",
    "-l",
    "labels",
    metavar="NAME=VALUE",
    multiple=True,
    callback=_labels,
    help="A label; may be given more than once.",
)

env_option = click.option(
    "--env",
    "-e",
    metavar="NAME[=VALUE]",
    multiple=True,
    callback=_env,
    help="The task's environment, on top of the site's minimal one. Without a value: the one it has here.",
)
