"""`farspawn ps`: lists tasks."""

import shlex
from collections.abc import Mapping

import click

from farspawn._cli.as_json import print_document
from farspawn._cli.harmless import harmless
from farspawn._cli.options import Settings, common_options, pass_settings
from farspawn._cli.pairs import label_option
from farspawn._cli.statuses import age_of
from farspawn._cli.table import print_table
from farspawn._cli.words import words_for
from farspawn._values import TaskState

_ALIVE = tuple(state for state in TaskState if state and not state.is_final)


@click.command()
@click.option("--all", "-a", "every", is_flag=True, help="Ended tasks too.")
@click.option("--quiet", "-q", is_flag=True, help="Print ids only.")
@label_option
@common_options
@pass_settings
def ps(settings: Settings, *, every: bool, quiet: bool, labels: Mapping[str, str]) -> None:
    """List the tasks that are alive, oldest first."""
    with settings.client() as site:
        tasks = list(site.list_tasks(states=() if every else _ALIVE, labels=labels))
    if settings.as_json:
        print_document(tasks)
    elif quiet:
        for task in tasks:
            click.echo(harmless(task.status.task_id))
    else:
        rows = [
            (
                task.status.task_id,
                words_for(task.status),
                str(task.status.pid or "-"),
                age_of(task.status),
                shlex.join(task.spec.argv),
            )
            for task in tasks
        ]
        print_table(("ID", "STATE", "PID", "AGE", "COMMAND"), rows)
