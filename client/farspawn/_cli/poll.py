"""`farspawn poll`: tells how tasks are."""

import click

from farspawn._cli import failures
from farspawn._cli.options import Settings, common_options, pass_settings
from farspawn._cli.statuses import print_statuses, task_ids_argument
from farspawn._follow import no_such_task


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
    print_statuses([known[task_id] for task_id in dict.fromkeys(task_ids) if task_id in known], settings)
    for task_id in answer.unknown_task_ids:
        failures.tell(no_such_task(task_id), settings, task_id)
    return settings.failure_code if answer.unknown_task_ids else 0
