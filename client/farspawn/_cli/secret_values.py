"""Secrets on the command line: by name only, for whoever may run ps sees what stands there."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import click


class Secrets(dict[str, str]):
    """Secrets by name; what it shows of itself is the names."""

    def __repr__(self) -> str:
        return f"<secrets {', '.join(self)}>"


def parse_secrets(texts: Iterable[str], environ: Mapping[str, str]) -> Secrets:
    """The values of `NAME`, out of the environment, and of `NAME=@FILE`; the last one of a name counts.

    Args:
        texts: As written.
        environ: The environment.

    Raises:
        click.BadParameter: One of them is none, or holds a value.
    """
    found = Secrets()
    for text in texts:
        name, equals, source = text.partition("=")
        if not name:
            raise click.BadParameter("a secret has a name: write NAME or NAME=@FILE")
        if not equals:
            if name not in environ:
                raise click.BadParameter(f"{name} is not set here: set it, or write {name}=@FILE")
            found[name] = environ[name]
        elif source.startswith("@"):
            found[name] = _content(name, source.removeprefix("@"))
        else:
            # Not quoted: it has been seen by enough already.
            raise click.BadParameter(
                f"{name}: a value on the command line is shown to all who may run ps: write {name}, to take the one "
                f"that it has in the environment here, or {name}=@FILE"
            )
    return found


def _content(name: str, path: str) -> str:
    """What is in a file, without the newline at its end."""
    try:
        return Path(path).read_bytes().decode().removesuffix("\n")
    except OSError as error:
        raise click.BadParameter(f"{name}: {error}") from error
    except UnicodeDecodeError:
        # Without the error, which holds the text.
        raise click.BadParameter(f"{name}: {path} is not UTF-8") from None
