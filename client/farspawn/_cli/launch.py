"""`farspawn launch`: starts a task and leaves it to itself. And what `launch` and `run` can be told to start."""

import functools
import os
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import TypedDict, TypeVar

import click

from farspawn._cli.as_json import print_document
from farspawn._cli.options import Settings, common_options, label_option, pass_settings
from farspawn._cli.parsing import option, pairs, parse_cleanup, parse_restart, parse_span
from farspawn._errors import LaunchFailedError, TaskError
from farspawn._process import Process
from farspawn._values import Cleanup, Lease, Readiness, RestartPolicy, StopPlan, TaskState

R = TypeVar("R")

# Options end at the first word that is none: what follows is the task's.
COMMAND_LINE = {"allow_interspersed_args": False}


class Wanted(TypedDict):
    """What to start: arguments of `Client.launch`."""

    argv: tuple[str, ...]
    task_id: str
    env: Mapping[str, str]
    working_directory: str
    stop: StopPlan
    max_runtime: timedelta | None
    lease: Lease | None
    labels: Mapping[str, str]
    restart: RestartPolicy | None
    cleanup: Cleanup | None
    readiness: Readiness | None


def _env(_: click.Context, __: click.Parameter, values: tuple[str, ...]) -> Mapping[str, str]:
    return pairs(values, os.environ)


_OPTIONS = (
    click.option("--id", "task_id", default="", metavar="ID", help="The task's id. Default: a new one."),
    click.option(
        "--env",
        "-e",
        metavar="NAME[=VALUE]",
        multiple=True,
        callback=_env,
        help="The task's environment, on top of the site's minimal one. Without a value: the one it has here.",
    ),
    click.option("--cwd", default="", metavar="PATH", help="The directory to start in. Default: /."),
    label_option,
    click.option(
        "--max-runtime", type=option(parse_span), metavar="SPAN", help="Stop the task when it has run so long."
    ),
    click.option(
        "--grace",
        type=option(parse_span),
        metavar="SPAN",
        help="When stopped: between SIGTERM and SIGKILL. Default: 10s.",
    ),
    click.option(
        "--lease",
        type=option(parse_span),
        metavar="SPAN",
        help="Stop the task when nobody has renewed its lease for so long. `run` renews it while it runs.",
    ),
    click.option(
        "--restart",
        type=option(parse_restart),
        metavar="WHEN",
        help="Start it again when it ends: no, on-failure, on-failure:N (N times in a row at most) or always.",
    ),
    click.option(
        "--cleanup", type=option(parse_cleanup), metavar="COMMAND", help="Run this each time it has ended; no shell."
    ),
    click.option("--ready-line", metavar="PATTERN", help="It is ready when it writes such a line; * is any text."),
    click.option("--ready-port", type=click.IntRange(1, 65535), metavar="PORT", help="... or takes TCP connections."),
    click.option("--ready-file", metavar="PATH", help="... or when this file is there."),
    click.argument("argv", metavar="COMMAND [ARG]...", nargs=-1, required=True, type=click.UNPROCESSED),
)


def spec_options(command: Callable[..., R]) -> Callable[..., R]:
    """Gives a command what to start, as its first argument."""

    @functools.wraps(command)
    def with_wanted(
        *,
        argv: tuple[str, ...],
        task_id: str,
        env: Mapping[str, str],
        cwd: str,
        labels: Mapping[str, str],
        max_runtime: timedelta | None,
        grace: timedelta | None,
        lease: timedelta | None,
        restart: RestartPolicy | None,
        cleanup: Cleanup | None,
        ready_line: str | None,
        ready_port: int | None,
        ready_file: str | None,
        **others: object,
    ) -> R:
        wanted = Wanted(
            argv=argv,
            task_id=task_id,
            env=env,
            working_directory=cwd,
            stop=StopPlan(grace=grace),
            max_runtime=max_runtime,
            lease=Lease(lease) if lease is not None else None,
            labels=labels,
            restart=restart,
            cleanup=cleanup,
            readiness=_readiness(ready_line, ready_port, ready_file),
        )
        return command(wanted, **others)

    wrapped: Callable[..., R] = with_wanted
    for each in reversed(_OPTIONS):
        wrapped = each(wrapped)
    return wrapped


def _readiness(line: str | None, port: int | None, file: str | None) -> Readiness | None:
    if line is None and port is None and file is None:
        return None
    try:
        return Readiness(log_line=line, tcp_port=port, file=file)
    except ValueError:
        raise click.UsageError("give one of --ready-line, --ready-port, --ready-file") from None


_EXAMPLE = """\b
Example:
  farspawn launch --id job-7 --max-runtime 2h python3 train.py --epochs 3"""


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
    if wait_ready and wanted["readiness"] is None:
        raise click.UsageError("--wait-ready needs --ready-line, --ready-port or --ready-file")
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
