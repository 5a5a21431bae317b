"""What `launch` and `run` can be told to start."""

import functools
import os
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import TypedDict, TypeVar

import click

from farspawn._cli.options import label_option, scope_option
from farspawn._cli.parsing import option, pairs, parse_cleanup, parse_restart, parse_revision, parse_span
from farspawn._cli.resources import NAMES, parse_limits
from farspawn._cli.secret_values import Secrets, parse_secrets
from farspawn._values import Cleanup, Lease, Readiness, Resources, RestartPolicy, StopPlan, StopScope

R = TypeVar("R")

# Options end at the first word that is none: what follows is the task's.
COMMAND_LINE = {"allow_interspersed_args": False}


class Wanted(TypedDict):
    """What to start: arguments of `Client.launch`."""

    argv: tuple[str, ...]
    template: str
    parameters: Mapping[str, str]
    template_revision: str
    task_id: str
    env: Mapping[str, str]
    secrets: Mapping[str, str]
    working_directory: str
    stop: StopPlan
    max_runtime: timedelta | None
    lease: Lease | None
    labels: Mapping[str, str]
    restart: RestartPolicy | None
    cleanup: Cleanup | None
    readiness: Readiness | None
    resources: Resources
    merge_output: bool


def _env(_: click.Context, __: click.Parameter, values: tuple[str, ...]) -> Mapping[str, str]:
    return pairs(values, os.environ)


def _parameters(_: click.Context, __: click.Parameter, values: tuple[str, ...]) -> Mapping[str, str]:
    return pairs(values)


def _secrets(_: click.Context, __: click.Parameter, values: tuple[str, ...]) -> Secrets:
    return parse_secrets(values, os.environ)


def _limits(_: click.Context, __: click.Parameter, values: tuple[str, ...]) -> Resources:
    return parse_limits(values)


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
    click.option(
        "--secret",
        "secrets",
        metavar="NAME[=@FILE]",
        multiple=True,
        callback=_secrets,
        help="More environment, which nobody is shown: the value it has here, or what is in the file.",
    ),
    click.option(
        "--template",
        default="",
        metavar="NAME",
        help="In place of COMMAND: one that the site's owner wrote, see `farspawn templates`.",
    ),
    click.option(
        "--param",
        "parameters",
        metavar="NAME=VALUE",
        multiple=True,
        callback=_parameters,
        help="A value for a parameter of the template; may be given more than once.",
    ),
    click.option(
        "--template-revision",
        default="",
        type=option(parse_revision),
        metavar="HEX",
        help="The revision that the template must have, whole.",
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
    scope_option,
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
    click.option(
        "--limit",
        "resources",
        metavar="NAME=VALUE",
        multiple=True,
        callback=_limits,
        help=f"What it may use, less than the site allows: {', '.join(NAMES)}. Bytes as 512M, spans as 1h.",
    ),
    click.option(
        "--merge-output", is_flag=True, help="Its standard error joins its standard output, in the order of writing."
    ),
    click.argument("argv", metavar="[COMMAND [ARG]...]", nargs=-1, type=click.UNPROCESSED),
)


def spec_options(command: Callable[..., R]) -> Callable[..., R]:
    """Gives a command what to start, as its first argument."""

    @functools.wraps(command)
    def with_wanted(
        *,
        argv: tuple[str, ...],
        template: str,
        parameters: Mapping[str, str],
        template_revision: str,
        task_id: str,
        env: Mapping[str, str],
        secrets: Mapping[str, str],
        cwd: str,
        labels: Mapping[str, str],
        max_runtime: timedelta | None,
        grace: timedelta | None,
        scope: StopScope,
        lease: timedelta | None,
        restart: RestartPolicy | None,
        cleanup: Cleanup | None,
        ready_line: str | None,
        ready_port: int | None,
        ready_file: str | None,
        resources: Resources,
        merge_output: bool,
        **others: object,
    ) -> R:
        _check_command(argv, template, has_values=bool(parameters or template_revision))
        wanted = Wanted(
            argv=argv,
            template=template,
            parameters=parameters,
            template_revision=template_revision,
            task_id=task_id,
            env=env,
            secrets=secrets,
            working_directory=cwd,
            stop=StopPlan(grace=grace, scope=scope),
            max_runtime=max_runtime,
            lease=Lease(lease) if lease is not None else None,
            labels=labels,
            restart=restart,
            cleanup=cleanup,
            readiness=_readiness(ready_line, ready_port, ready_file),
            resources=resources,
            merge_output=merge_output,
        )
        return command(wanted, **others)

    wrapped: Callable[..., R] = with_wanted
    for each in reversed(_OPTIONS):
        wrapped = each(wrapped)
    return wrapped


def _check_command(argv: tuple[str, ...], template: str, *, has_values: bool) -> None:
    if not argv and not template:
        raise click.UsageError("give a COMMAND, or --template")
    if argv and template:
        raise click.UsageError(f"--template says what to run: give it values with --param, not {argv[0]!r}")
    if has_values and not template:
        raise click.UsageError("--param and --template-revision are for a --template")


def _readiness(line: str | None, port: int | None, file: str | None) -> Readiness | None:
    if line is None and port is None and file is None:
        return None
    try:
        return Readiness(log_line=line, tcp_port=port, file=file)
    except ValueError:
        raise click.UsageError("give one of --ready-line, --ready-port, --ready-file") from None
