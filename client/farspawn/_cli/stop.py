"""`farspawn stop`: stops tasks."""

from datetime import timedelta

import click

from farspawn._cli.as_json import print_document
from farspawn._cli.options import Settings, common_options, pass_settings
from farspawn._cli.signals import signal_number
from farspawn._cli.spans import span
from farspawn._cli.statuses import for_each, print_status, task_ids_argument
from farspawn._cli.wait import wait_and_tell
from farspawn._values import StopPlan, TaskStatus


@click.command()
@click.option("--linger", type=span, metavar="SPAN", help="Do nothing yet for so long.")
@click.option("--drain", type=span, metavar="SPAN", help="Then wait so long for the task to end by itself.")
@click.option("--signal", type=signal_number, metavar="NAME", help="Then send this to the whole task.")
@click.option("--grace", type=span, metavar="SPAN", help="After so long send SIGKILL. 0: at once, without the signal.")
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
    grace: timedelta | None,
    until_ended: bool,
    task_ids: tuple[str, ...],
) -> int:
    """Begin to stop tasks.

    Each by its own plan, where an option does not say otherwise. The plan goes
    on when this command has returned. A second stop may bring the end forward
    and never puts it off. To stop an ended task is no error.
    """
    plan = StopPlan(linger=linger, drain=drain, signal=signal, grace=grace)
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
