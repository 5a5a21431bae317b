"""Options that say what to launch, for `launch` and `run`."""

from collections.abc import Callable
from typing import TypeVar

import click

from farspawn._cli.pairs import env_option, label_option
from farspawn._cli.spans import span

F = TypeVar("F", bound=Callable[..., object])

# Options end at the first word that is none: what follows is the task's.
COMMAND_LINE = {"allow_interspersed_args": False}

_OPTIONS = (
    click.option("--id", "task_id", default="", metavar="ID", help="The task's id. Default: a new one."),
    env_option,
    click.option("--cwd", default="", metavar="PATH", help="The directory to start in. Default: /."),
    label_option,
    click.option("--max-runtime", type=span, metavar="SPAN", help="Stop the task when it has run so long."),
    click.option("--grace", type=span, metavar="SPAN", help="When stopped: between SIGTERM and SIGKILL. Default: 10s."),
    click.argument("argv", metavar="COMMAND [ARG]...", nargs=-1, required=True, type=click.UNPROCESSED),
)


def spec_options(command: F) -> F:
    """What to launch."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command
