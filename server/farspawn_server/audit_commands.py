"""`farspawnd audit`: check and show what is on record. It only reads, also while the agent writes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import click

from farspawn_server.audit import folder
from farspawn_server.audit.chain import GENESIS, NotALineError, read
from farspawn_server.audit.verify import BrokenChainError, verify
from farspawn_server.settings import Settings

_STATE = click.option("--state", "own_state", type=click.Path(), help="The site's state directory.")
_FOLDER = click.argument("directory", type=click.Path(file_okay=False, path_type=Path), required=False)
_HASH_DIGITS = 64


@click.group()
def audit() -> None:
    """Check and show what was asked of the site, and what it answered."""


@audit.command("verify")
@_STATE
@click.option("--expect", default="", metavar="HASH", help="A hash that was noted once: is it still in the chain?")
@_FOLDER
@click.pass_obj
def verify_command(settings: Settings, own_state: str | None, expect: str, directory: Path | None) -> None:
    """Check that no line was changed, removed, inserted or moved. DIRECTORY: a copy of the audit's files.

    The last hash is to be noted elsewhere: that lines were cut off at the end is seen only by who expects it.
    """
    directory = _directory(settings, own_state, directory)
    expect = expect.lower()
    if expect and (len(expect) != _HASH_DIGITS or set(expect) - set("0123456789abcdef")):
        raise click.BadParameter("give the 64 hexadecimal digits that an earlier check has said", param_hint="--expect")
    try:
        found = verify(directory, expect)
    except BrokenChainError as error:
        raise click.ClickException(f"the chain is broken: {directory}/{error}") from error
    except OSError as error:
        raise click.ClickException(str(error)) from error
    if found.lines:
        click.echo(f"{found.lines} lines, from {harmless(found.first_time)} to {harmless(found.last_time)}")
        click.echo(f"last hash {found.head}")
    else:
        click.echo("no lines")
    if found.first_seq > 1:
        click.echo(f"note: the {found.first_seq - 1} lines before are not here: their files were removed")
    if found.lost:
        click.echo(f"note: {found.lost} more could not be written, or came too fast")
    if found.unfinished:
        click.echo(f"note: {found.unfinished} bytes after the last line: it is being written, or a crash cut it off")
    if expect and not found.expected and (expect != GENESIS or found.first_seq > 1):
        raise click.ClickException(f"{expect} is not in the chain: lines were cut off, or all was written anew")


@audit.command()
@_STATE
@click.option("--last", default=50, show_default=True, metavar="N", type=click.IntRange(1), help="How many lines.")
@_FOLDER
@click.pass_obj
def show(settings: Settings, own_state: str | None, last: int, directory: Path | None) -> None:
    """Show the last lines: time, who, what, which task, what became of it. Checks nothing: see `verify`."""
    directory = _directory(settings, own_state, directory)
    lines: list[bytes] = []
    try:
        for number in reversed(folder.numbers(directory)):
            lines = (directory / folder.name_of(number)).read_bytes().split(b"\n")[:-1] + lines
            if len(lines) >= last:
                break
    except OSError as error:
        raise click.ClickException(str(error)) from error
    for line in lines[-last:]:
        try:
            click.echo(_row(read(line).fields))
        except NotALineError as error:
            click.echo(f"! {error}")


def harmless(text: str) -> str:
    """Return a text that neither breaks a line nor moves a cursor nor turns its direction."""
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)


def _row(fields: Mapping[str, object]) -> str:
    text = {name: harmless(str(value)) for name, value in fields.items()}
    what = text.get("template") or text.get("program", "")
    why = f" ({text['rule']})" if "rule" in text else ""
    return (
        f"{text.get('time', '')}  {text.get('identity') or '-'}  {text.get('rpc', '')}  "
        f"{text.get('outcome', '')}{why}  {text.get('task_id', '')}  {what}"
    ).rstrip()


def _directory(settings: Settings, own_state: str | None, directory: Path | None) -> Path:
    return directory or Path(own_state or settings.state) / "audit"
