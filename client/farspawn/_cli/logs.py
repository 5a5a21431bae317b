"""`farspawn logs`: shows what a task wrote."""

import sys
from datetime import datetime

import click

from farspawn._cli.as_json import log_line, print_record
from farspawn._cli.failures import warn
from farspawn._cli.options import Settings, common_options, pass_settings
from farspawn._cli.parsing import option, parse_since
from farspawn._cli.task_output import TaskOutput
from farspawn._cli.words import lost_text
from farspawn._logs import LogReader
from farspawn._values import LogStream


@click.command()
@click.option("--follow", "-f", is_flag=True, help="Go on while the task lives, through all its attempts.")
@click.option("--stderr", "errors", is_flag=True, help="Standard error, not standard output.")
@click.option("--tail", "-n", "tail", type=click.IntRange(min=0), metavar="N", help="Only the last N lines.")
@click.option("--offset", type=click.IntRange(min=0), metavar="N", help="Start at byte N.")
@click.option(
    "--since",
    type=option(parse_since),
    metavar="WHEN",
    help="Only what came since then: 10m (ago), or a time such as 2026-11-28T09:30 or 2026-11-28T08:30:00Z.",
)
@click.option("--attempt", type=click.IntRange(min=0), default=0, metavar="N", help="Only this. Default: the newest.")
@click.option("--timestamps", "-t", is_flag=True, help="Begin each line with the second in which it came, in UTC.")
@click.option("--raw", is_flag=True, help="On a terminal, too, pass every byte as it is.")
@click.argument("task_id", metavar="ID")
@common_options
@pass_settings
def logs(
    settings: Settings,
    *,
    follow: bool,
    errors: bool,
    tail: int | None,
    offset: int | None,
    since: datetime | None,
    attempt: int,
    timestamps: bool,
    raw: bool,
    task_id: str,
) -> None:
    """Show what a task wrote.

    On a terminal control characters are shown, not obeyed; elsewhere every byte
    passes as it is.
    """
    stream = LogStream.STDERR if errors else LogStream.STDOUT
    with (
        settings.client() as site,
        site.read_logs(
            task_id, stream, offset=offset, tail_lines=tail, since=since, follow=follow, attempt=attempt
        ) as output,
    ):
        if settings.as_json:
            for line in output.lines():
                print_record(log_line(stream, line, timed=timestamps))
        else:
            _show(output, TaskOutput(sys.stdout, raw=raw), timestamps=timestamps)
        if output.lost_bytes:
            warn(lost_text(stream, output.lost_bytes))


def _show(output: LogReader, ours: TaskOutput, *, timestamps: bool) -> None:
    if not timestamps:
        for chunk in output:
            ours.write(chunk.data)
    else:
        begun = False
        for line in output.lines():
            ours.write(line.data if begun else _time(line.written_at) + line.data)
            begun = not line.data.endswith(b"\n")
    ours.finish()


def _time(written_at: datetime | None) -> bytes:
    return b"- " if written_at is None else f"{written_at:%Y-%m-%dT%H:%M:%SZ} ".encode()
