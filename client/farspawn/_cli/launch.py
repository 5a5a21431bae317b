"""`farspawn launch`: starts a task and leaves it to itself."""

import click

from farspawn._cli.as_json import print_document
from farspawn._cli.options import Settings, common_options, pass_settings
from farspawn._cli.wanted import COMMAND_LINE, Wanted, spec_options
from farspawn._errors import LaunchFailedError, TaskError
from farspawn._process import Process
from farspawn._values import TaskState

_EXAMPLE = """\b
Example:
  farspawn launch --id job-7 --max-runtime 2h python3 train.py --epochs 3
  farspawn launch --template train --param epochs=3"""


@click.command(context_settings=COMMAND_LINE, epilog=_EXAMPLE)
@click.option("--wait-ready", is_flag=True, help="Return when the task is ready; it is an error if it ends before.")
@spec_options
@common_options
@pass_settings
def launch(settings: Settings, wanted: Wanted, *, wait_ready: bool) -> int:
    """Start a task, print its id, and return.

    With the --id of a task that exists nothing is started: the id is printed
    again if the command is the same, else it is an error.
    """
    if wait_ready and wanted["readiness"] is None and not wanted["template"]:
        raise click.UsageError("--wait-ready needs --ready-line, --ready-port or --ready-file, or a template's check")
    with settings.client() as site:
        process = site.launch(**wanted)
        if not settings.as_json:
            click.echo(process.task_id)
        failure = _start(process, wait_ready=wait_ready)
    if settings.as_json:
        print_document({"created": process.created, "status": process.status})
    if failure is not None:
        raise failure
    return 0


def _start(process: Process, *, wait_ready: bool) -> TaskError | None:
    if process.status is not None and process.status.state is TaskState.FAILED:
        return LaunchFailedError(process.status)
    if wait_ready:
        try:
            process.wait_ready()
        except TaskError as error:
            return error
    return None
