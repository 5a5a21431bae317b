"""`farspawn run`: a task in the foreground, as `docker run` has a container."""

import asyncio
import os
from contextlib import AsyncExitStack, suppress

import click

from farspawn._arguments import new_task_id
from farspawn._async_client import AsyncClient
from farspawn._cli.failures import warn
from farspawn._cli.foreground import Foreground
from farspawn._cli.options import Settings, common_options, pass_settings
from farspawn._cli.wanted import COMMAND_LINE, Wanted, spec_options
from farspawn._errors import FarspawnError, LeaseExpiredError

_EXAMPLE = """\b
Example:
  farspawn run -e SEED=7 python3 -c 'import os; print(os.environ["SEED"])'"""


@click.command(context_settings=COMMAND_LINE, epilog=_EXAMPLE)
@click.option("--rm", "remove", is_flag=True, help="Forget the task and its logs when it has ended.")
@click.option("--interactive", "-i", "with_input", is_flag=True, help="Pass our standard input on to the task.")
@click.option("--raw", is_flag=True, help="On a terminal, too, pass every byte as it is.")
@spec_options
@common_options
@pass_settings
def run(settings: Settings, wanted: Wanted, *, remove: bool, with_input: bool, raw: bool) -> int:
    """Start a task and stay with it to its end.

    What it writes is passed on to here, and signals from here to it; without -i
    its standard input is empty. The exit code is the task's: 128+n if signal n
    ended it, 127 if the program is missing, 126 if it cannot be executed, 125
    for whatever is not the task's.

    Where our two outputs are one place (a terminal, 2>&1), so are the task's,
    and arrive in the order of writing; not with --id, --template or --json.

    On a terminal control characters are shown, not obeyed; elsewhere every byte
    passes as it is.

    Ctrl-C goes to the task; twice within 2 seconds, it kills the task; once more
    leaves it alone. With the --id of a task that exists, it is attached to.
    """
    settings.stands_for_the_task()
    # With an id it may be a repetition, whose specification must not depend on where we write to.
    is_new = not wanted["task_id"] and not wanted["template"] and not settings.as_json
    wanted["merge_output"] = wanted["merge_output"] or (is_new and _is_one_place())
    wanted["task_id"] = wanted["task_id"] or new_task_id()

    async def foreground() -> int:
        async with AsyncClient(settings.site, credentials=settings.credentials()) as site:
            try:
                return await _stay(site, wanted, settings, with_input=with_input, raw=raw)
            finally:
                if remove:
                    await _remove(site, wanted["task_id"])

    return asyncio.run(foreground())


def _is_one_place() -> bool:
    """Whether our two outputs are one file, pipe or terminal."""
    with suppress(OSError):  # one of them is closed
        return os.path.sameopenfile(1, 2)
    return False


async def _stay(site: AsyncClient, wanted: Wanted, settings: Settings, *, with_input: bool, raw: bool) -> int:
    code = 0
    try:
        async with AsyncExitStack() as stack:
            try:
                process = await site.launch(**wanted, open_input=with_input)
                # Also if none was asked for: the site may want one of every task.
                await stack.enter_async_context(site.keep_leases([process.task_id]))
            except asyncio.CancelledError:
                # By Ctrl-C; the later ones go to the task.
                warn(f"interrupted: `farspawn poll {wanted['task_id']}` tells whether the task was launched")
                raise
            code = await Foreground(site, process, settings, with_input=with_input, raw=raw).run()
    except LeaseExpiredError as error:
        warn(str(error))
    return code


async def _remove(site: AsyncClient, task_id: str) -> None:
    try:
        await site.delete(task_id)
    except FarspawnError as error:
        warn(f"task {task_id} was not removed: {error}")
