"""`farspawn launch`: starts a task and leaves it to itself."""

from collections.abc import Mapping
from datetime import timedelta

import click

from farspawn._cli.as_json import print_document
from farspawn._cli.options import Settings, common_options, pass_settings
from farspawn._cli.spec_options import COMMAND_LINE, spec_options
from farspawn._errors import LaunchFailedError
from farspawn._values import StopPlan, TaskState

_EXAMPLE = """\b
Example:
  farspawn launch --id job-7 --max-runtime 2h python3 train.py --epochs 3"""


@click.command(context_settings=COMMAND_LINE, epilog=_EXAMPLE)
@spec_options
@common_options
@pass_settings
def launch(
    settings: Settings,
    *,
    task_id: str,
    env: Mapping[str, str],
    cwd: str,
    labels: Mapping[str, str],
    max_runtime: timedelta | None,
    grace: timedelta | None,
    argv: tuple[str, ...],
) -> int:
    """Start a task, print its id, and return.

    With the --id of a task that exists nothing is started: the id is printed
    again if the command is the same, else it is an error.
    """
    with settings.client() as site:
        process = site.launch(
            argv,
            task_id=task_id,
            env=env,
            working_directory=cwd,
            labels=labels,
            max_runtime=max_runtime,
            stop=StopPlan(grace=grace),
        )
    if settings.as_json:
        print_document({"created": process.created, "status": process.status})
    else:
        click.echo(process.task_id)
    if process.status is not None and process.status.state is TaskState.FAILED:
        raise LaunchFailedError(process.status)
    return 0
