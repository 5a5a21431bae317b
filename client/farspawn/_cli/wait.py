"""`farspawn wait`: waits for tasks to end."""

import sys
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import timedelta

import click

from farspawn._cli.as_json import print_record
from farspawn._cli.exit_codes import exit_code_of
from farspawn._cli.options import Settings, common_options, pass_settings
from farspawn._cli.spans import span
from farspawn._cli.statuses import print_status, task_ids_argument
from farspawn._client import Client
from farspawn._values import TaskStatus


@click.command()
@click.option("--timeout", type=span, metavar="SPAN", help="Give up after so long. Default: never.")
@task_ids_argument
@common_options
@pass_settings
def wait(settings: Settings, *, timeout: timedelta | None, task_ids: tuple[str, ...]) -> int:
    """Wait until tasks have ended, and tell how.

    With one ID the exit code is the task's: 128+n if signal n ended it, 127 or
    126 if it could not be started, 125 for whatever is not the task's. With
    several it is 0 if all exited with 0, else 1.
    """
    if len(task_ids) == 1:
        settings.stands_for_the_task()
    with settings.client() as site:
        ended = wait_and_tell(site, task_ids, timeout, settings)
    codes = [exit_code_of(status) for status in ended]
    return codes[0] if len(task_ids) == 1 else int(any(codes))


def wait_and_tell(
    site: Client, task_ids: Sequence[str], timeout: timedelta | None, settings: Settings
) -> Sequence[TaskStatus]:
    """Prints a line for each task when it has ended; on a terminal also how many have not."""
    left = len(set(task_ids))
    ended: list[TaskStatus] = []
    with ExitStack() as stack:
        spinner = None
        if sys.stderr.isatty() and not settings.as_json:
            from rich.console import Console  # late: rich takes longer than a call to a site

            spinner = stack.enter_context(Console(stderr=True).status(f"waiting for {left} to end"))
        for status in site.as_ended(task_ids, timeout):
            ended.append(status)
            if settings.as_json:
                print_record(status)
            else:
                print_status(status)
            if spinner is not None:
                spinner.update(f"waiting for {left - len(ended)} to end")
    return ended
