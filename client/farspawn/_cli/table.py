"""Columns: with rich on a terminal, plain for other programs."""

import sys
from collections.abc import Sequence

import click

from farspawn._cli.harmless import harmless

_GIVE_WAY = ("STATE", "COMMAND")


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
        # Ids are there to be copied: whole. Where there is no room, words give way.
        table.add_column(head, no_wrap=head not in _GIVE_WAY)
    for row in cells:
        # Text, not str: no [markup], no :emoji:.
        table.add_row(*(Text(cell, no_wrap=True, overflow="ellipsis") for cell in row))
    Console(highlight=False).print(table)
