"""`farspawn logs`: shows what a task wrote."""

import sys

import click

from farspawn._cli.as_json import log_line, print_records
from farspawn._cli.options import Settings, common_options, pass_settings
from farspawn._cli.task_output import TaskOutput
from farspawn._values import LogStream


@click.command()
@click.option("--follow", "-f", is_flag=True, help="Go on while the task lives.")
@click.option("--stderr", "errors", is_flag=True, help="Standard error, not standard output.")
@click.option("--tail", "-n", "tail", type=click.IntRange(min=0), metavar="N", help="Only the last N lines.")
@click.option("--offset", type=click.IntRange(min=0), metavar="N", help="Start at byte N.")
@click.option("--attempt", type=click.IntRange(min=0), default=0, metavar="N", help="Default: the newest.")
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
    attempt: int,
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
        site.read_logs(task_id, stream, offset=offset, tail_lines=tail, follow=follow, attempt=attempt) as output,
    ):
        if settings.as_json:
            print_records(log_line(stream, line) for line in output.lines())
        else:
            ours = TaskOutput(sys.stdout, raw=raw)
            for chunk in output:
                ours.write(chunk.data)
            ours.finish()
