"""Commands that ask how tasks are: `farspawn ps`, `poll`, `wait`."""

import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from datetime import timedelta

import click

from farspawn._cli import failures
from farspawn._cli.as_json import print_document, print_record
from farspawn._cli.as_text import age_of, print_status, print_table
from farspawn._cli.harmless import harmless
from farspawn._cli.options import Settings, common_options, label_option, pass_settings, task_ids_argument
from farspawn._cli.parsing import option, parse_span, parse_state
from farspawn._cli.words import command_of, exit_code_of, words_for
from farspawn._client import Client
from farspawn._follow import no_such_task
from farspawn._values import TaskState, TaskStatus

_ALIVE = tuple(state for state in TaskState if state and not state.is_final)


@click.command()
@click.option("--all", "-a", "every", is_flag=True, help="Ended tasks too.")
@click.option("--quiet", "-q", is_flag=True, help="Print ids only.")
@click.option(
    "--state",
    "states",
    type=option(parse_state),
    multiple=True,
    metavar="STATE",
    help="Only tasks in this state, for instance failed; may be given more than once.",
)
@click.option("--owner", default="", metavar="NAME", help="Only tasks that this identity launched.")
@label_option
@common_options
@pass_settings
def ps(
    settings: Settings,
    *,
    every: bool,
    quiet: bool,
    states: tuple[TaskState, ...],
    owner: str,
    labels: Mapping[str, str],
) -> None:
    """List the tasks that are alive, oldest first."""
    with settings.client() as site:
        tasks = list(site.list_tasks(states=states or (() if every else _ALIVE), labels=labels, owner=owner))
    if settings.as_json:
        print_document(tasks)
    elif quiet:
        for task in tasks:
            click.echo(harmless(task.status.task_id))
    else:
        rows = [(*_cells(task.status), command_of(task.spec)) for task in tasks]
        print_table(("ID", "STATE", "PID", "AGE", "COMMAND"), rows)


@click.command()
@click.option("--renew", is_flag=True, help="Renew the tasks' leases.")
@task_ids_argument
@common_options
@pass_settings
def poll(settings: Settings, *, renew: bool, task_ids: tuple[str, ...]) -> int:
    """Tell how tasks are, now.

    The exit code is 1 if one of them does not exist.
    """
    with settings.client() as site:
        answer = site.poll(dict.fromkeys(task_ids), renew_leases=renew)
        known = {status.task_id: status for status in answer.statuses}
        while len(known) + len(answer.unknown_task_ids) < len(set(task_ids)) and answer.statuses:  # it was cut
            answer = site.poll(dict.fromkeys(task_ids), since_revision=answer.revision)
            known |= {status.task_id: status for status in answer.statuses}
    statuses = [known[task_id] for task_id in dict.fromkeys(task_ids) if task_id in known]
    if settings.as_json:
        print_document(statuses)
    else:
        print_table(("ID", "STATE", "PID", "AGE"), [_cells(status) for status in statuses])
    for task_id in answer.unknown_task_ids:
        failures.tell(no_such_task(task_id), settings, task_id)
    return settings.failure_code if answer.unknown_task_ids else 0


def _cells(status: TaskStatus) -> tuple[str, str, str, str]:
    return status.task_id, words_for(status), str(status.pid or "-"), age_of(status)


@click.command()
@click.option("--timeout", type=option(parse_span), metavar="SPAN", help="Give up after so long. Default: never.")
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
