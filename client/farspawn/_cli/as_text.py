"""What the commands print for people: tables and lines, harmless for a terminal."""

import sys
from collections.abc import Sequence
from datetime import UTC, datetime

import click

from farspawn._cli.harmless import harmless
from farspawn._cli.words import span_text, words_for
from farspawn._values import TaskStatus

_GIVE_WAY = ("STATE", "COMMAND")
_WRAP = ("PARAMETERS", "DESCRIPTION")


def print_status(status: TaskStatus) -> None:
    """One line."""
    click.echo(harmless(f"{status.task_id}  {words_for(status)}"))


def age_of(status: TaskStatus) -> str:
    """How long ago the task was created; by this machine's clock and the site's."""
    created = status.times.created
    return span_text(datetime.now(UTC) - created) if created else "-"


def print_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Prints rows under heads; whatever the cells hold is made harmless."""
    cells = [[harmless(cell) for cell in row] for row in rows]
    if sys.stdout.isatty():
        _print_pretty(heads, cells)
        return
    widths = [max(map(len, column)) for column in zip(heads, *cells, strict=True)]
    for row in [heads, *cells]:
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        click.echo(line.rstrip())


def _print_pretty(heads: Sequence[str], cells: Sequence[Sequence[str]]) -> None:
    # Imported late: rich takes longer than a call to a site.
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for head in heads:
        # Ids are there to be copied: whole. Where there is no room, words give way, or go on below.
        table.add_column(head, no_wrap=head not in (*_GIVE_WAY, *_WRAP))
    for row in cells:
        # Text, not str: no [markup], no :emoji:.
        table.add_row(
            *(
                Text(cell, overflow="fold") if head in _WRAP else Text(cell, no_wrap=True, overflow="ellipsis")
                for head, cell in zip(heads, row, strict=True)
            )
        )
    Console(highlight=False).print(table)
