"""Statuses of tasks, as the commands that change or ask for them show them."""

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime

import click

from farspawn._cli import failures
from farspawn._cli.as_json import print_document
from farspawn._cli.harmless import harmless
from farspawn._cli.options import Settings
from farspawn._cli.spans import span_text
from farspawn._cli.table import print_table
from farspawn._cli.words import words_for
from farspawn._errors import RefusedError, SiteUnavailableError
from farspawn._values import TaskStatus


def print_statuses(statuses: Sequence[TaskStatus], settings: Settings) -> None:
    """A table, or a JSON array."""
    if settings.as_json:
        print_document(statuses)
        return
    print_table(
        ("ID", "STATE", "PID", "AGE"),
        [(status.task_id, words_for(status), str(status.pid or "-"), age_of(status)) for status in statuses],
    )


def print_status(status: TaskStatus) -> None:
    """One line."""
    click.echo(harmless(f"{status.task_id}  {words_for(status)}"))


def age_of(status: TaskStatus) -> str:
    """How long ago the task was created; by this machine's clock and the site's."""
    created = status.times.created
    return span_text(datetime.now(UTC) - created) if created else "-"


def for_each(task_ids: Iterable[str], act: Callable[[str], None], settings: Settings) -> int:
    """Does it to each task, also after the site refused it for another; returns the exit code."""
    code = 0
    for task_id in dict.fromkeys(task_ids):
        try:
            act(task_id)
        except SiteUnavailableError:
            raise  # it would refuse the others just so
        except RefusedError as error:
            failures.tell(error, settings, task_id)
            code = settings.failure_code
    return code


task_ids_argument = click.argument("task_ids", metavar="ID...", nargs=-1, required=True)
