"""`farspawn run`: a task in the foreground, as `docker run` has a container."""

import asyncio
from collections.abc import Mapping
from datetime import timedelta

import click

from farspawn._async_client import AsyncClient
from farspawn._cli.failures import warn
from farspawn._cli.foreground import Foreground
from farspawn._cli.options import Settings, common_options, pass_settings
from farspawn._cli.spec_options import COMMAND_LINE, spec_options
from farspawn._errors import FarspawnError
from farspawn._ids import new_task_id
from farspawn._values import StopPlan

_EXAMPLE = """\b
Example:
  farspawn run -e SEED=7 python3 -c 'import os; print(os.environ["SEED"])'"""


@click.command(context_settings=COMMAND_LINE, epilog=_EXAMPLE)
@click.option("--rm", "remove", is_flag=True, help="Forget the task and its logs when it has ended.")
@spec_options
@common_options
@pass_settings
def run(
    settings: Settings,
    *,
    remove: bool,
    task_id: str,
    env: Mapping[str, str],
    cwd: str,
    labels: Mapping[str, str],
    max_runtime: timedelta | None,
    grace: timedelta | None,
    argv: tuple[str, ...],
) -> int:
    """Start a task and stay with it to its end.

    What it writes is passed on to here, and signals from here to it; its
    standard input is empty. The exit code is the task's: 128+n if signal n
    ended it, 127 if the program is missing, 126 if it cannot be executed, 125
    for whatever is not the task's.

    Ctrl-C goes to the task; twice within 2 seconds, it kills the task; once more
    leaves it alone. With the --id of a task that exists, it is attached to.
    """
    settings.stands_for_the_task()
    task_id = task_id or new_task_id()

    async def foreground() -> int:
        async with AsyncClient(settings.site) as site:
            try:
                process = await site.launch(
                    argv,
                    task_id=task_id,
                    env=env,
                    working_directory=cwd,
                    labels=labels,
                    max_runtime=max_runtime,
                    stop=StopPlan(grace=grace),
                )
            except asyncio.CancelledError:
                # By Ctrl-C; the later ones go to the task.
                warn(f"interrupted: `farspawn poll {task_id}` tells whether the task was launched")
                raise
            try:
                return await Foreground(site, process, settings).run()
            finally:
                if remove:
                    await _remove(site, task_id)

    return asyncio.run(foreground())


async def _remove(site: AsyncClient, task_id: str) -> None:
    try:
        await site.delete(task_id)
    except FarspawnError as error:
        warn(f"task {task_id} was not removed: {error}")
