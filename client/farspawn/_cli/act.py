"""Commands that act on tasks: `farspawn stop`, `signal`, `rm`."""

from datetime import timedelta

import click

from farspawn._cli.as_json import print_document
from farspawn._cli.as_text import print_status
from farspawn._cli.failures import for_each
from farspawn._cli.harmless import harmless
from farspawn._cli.look import wait_and_tell
from farspawn._cli.options import Settings, common_options, pass_settings, scope_option, task_ids_argument
from farspawn._cli.parsing import option, parse_signal, parse_span
from farspawn._values import SignalScope, StopPlan, StopScope, TaskStatus


@click.command()
@click.option("--linger", type=option(parse_span), metavar="SPAN", help="Do nothing yet for so long.")
@click.option(
    "--drain", type=option(parse_span), metavar="SPAN", help="Then wait so long for the task to end by itself."
)
@click.option("--signal", type=option(parse_signal), metavar="NAME", help="Then send this.")
@scope_option
@click.option(
    "--grace",
    type=option(parse_span),
    metavar="SPAN",
    help="After so long send SIGKILL. 0: at once, without the signal.",
)
@click.option("--wait", "until_ended", is_flag=True, help="Return when they have ended, and tell how.")
@task_ids_argument
@common_options
@pass_settings
def stop(
    settings: Settings,
    *,
    linger: timedelta | None,
    drain: timedelta | None,
    signal: int | None,
    scope: StopScope,
    grace: timedelta | None,
    until_ended: bool,
    task_ids: tuple[str, ...],
) -> int:
    """Begin to stop tasks.

    Each by its own plan, where an option does not say otherwise. The plan goes
    on when this command has returned. A second stop may bring the end forward
    and never puts it off. To stop an ended task is no error.
    """
    plan = StopPlan(linger=linger, drain=drain, signal=signal, grace=grace, scope=scope)
    stopped: list[TaskStatus] = []
    with settings.client() as site:
        code = for_each(task_ids, lambda task_id: stopped.append(site.stop(task_id, plan)), settings)
        if until_ended:
            wait_and_tell(site, [status.task_id for status in stopped], None, settings)
        elif settings.as_json:
            print_document(stopped)
        else:
            for status in stopped:
                print_status(status)
    return code


@click.command()
@click.option("--tree", is_flag=True, help="To everything the task has started, not only its first process.")
@click.argument("task_id", metavar="ID")
@click.argument("number", metavar="NAME|NUMBER", type=option(parse_signal))
@common_options
@pass_settings
def signal(settings: Settings, *, tree: bool, task_id: str, number: int) -> None:
    """Send a signal to a task, for instance USR1 or 10.

    To end a task use `farspawn stop`, which sees to it that it ends.
    """
    scope = SignalScope.TREE if tree else SignalScope.LEADER
    with settings.client() as site:
        signalled = site.signal(task_id, number, scope)
    if settings.as_json:
        print_document({"task_id": task_id, "signalled": signalled})


@click.command()
@task_ids_argument
@common_options
@pass_settings
def rm(settings: Settings, *, task_ids: tuple[str, ...]) -> int:
    """Forget ended tasks and remove their logs."""
    removed: list[str] = []
    with settings.client() as site:

        def remove(task_id: str) -> None:
            site.delete(task_id)
            removed.append(task_id)

        code = for_each(task_ids, remove, settings)
    if settings.as_json:
        print_document({"removed": removed})
    else:
        for task_id in removed:
            click.echo(harmless(task_id))
    return code
