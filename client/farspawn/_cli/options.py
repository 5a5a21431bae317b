"""What every command can be told: which site, and in which form to answer."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

import click
import grpc

from farspawn._channel import credentials_from_files
from farspawn._cli.parsing import pairs
from farspawn._client import Client
from farspawn._values import StopScope

F = TypeVar("F", bound=Callable[..., object])


@dataclass(slots=True)
class Settings:
    """What was said so far, while the command line is being read; made by `main`.

    Attributes:
        site: The address; None: the default.
        tls: Certificate, key and authorities, as far as they were given.
        as_json: Whether to answer in JSON, errors too.
        failure_code: The exit code if the site fails us.
    """

    site: str | None = None
    tls: dict[str, str] = field(default_factory=dict)
    as_json: bool = False
    failure_code: int = 1

    def client(self) -> Client:
        """A client of the site."""
        return Client(self.site, credentials=self.credentials())

    def credentials(self) -> grpc.ChannelCredentials | None:
        """What a connection over a network needs; None: nothing was given."""
        if not self.tls:
            return None
        if missing := [name for name in _TLS_FILES if name not in self.tls]:
            raise click.UsageError(f"mutual TLS needs --{' and --'.join(missing)} too")
        try:
            return credentials_from_files(**self.tls)
        except OSError as error:
            raise click.UsageError(str(error)) from error

    def stands_for_the_task(self) -> None:
        """The exit code will be the task's: what is not the task's is 125, as Docker has it."""
        self.failure_code = 125


pass_settings = click.make_pass_decorator(Settings)


def _set_site(context: click.Context, _: click.Parameter, value: str | None) -> None:
    if value is not None:
        context.find_object(Settings).site = value  # type: ignore[union-attr]  # main made it


def _set_json(context: click.Context, _: click.Parameter, value: bool) -> None:
    if value:
        context.find_object(Settings).as_json = True  # type: ignore[union-attr]  # main made it


site_option = click.option(
    "--site",
    metavar="ADDRESS",
    expose_value=False,
    callback=_set_site,
    is_eager=True,
    help="unix:/path/to/socket or host:port. Default: FARSPAWN_SITE, else the agent you started here.",
)

_TLS_FILES = {
    "certificate": "Your certificate, a PEM file: for sites over a network.",
    "key": "Your certificate's private key.",
    "authorities": "The roots that sign the certificates of sites.",
}


def _set_tls(context: click.Context, option: click.Parameter, value: str | None) -> None:
    if value is not None:
        context.find_object(Settings).tls[str(option.name)] = value  # type: ignore[union-attr]  # main made it


def tls_options(command: F) -> F:
    """`--certificate`, `--key` and `--authorities`."""
    for name, text in reversed(_TLS_FILES.items()):
        command = click.option(
            f"--{name}",
            metavar="FILE",
            envvar=f"FARSPAWN_{name.upper()}",
            show_envvar=True,
            expose_value=False,
            callback=_set_tls,
            is_eager=True,
            help=text,
        )(command)
    return command


_json_option = click.option(
    "--json",
    is_flag=True,
    expose_value=False,
    callback=_set_json,
    is_eager=True,
    help='Answer in JSON, errors too: spans as "1.5s", times as in RFC 3339, bytes as text or base64.',
)


def common_options(command: F) -> F:
    """`--site` and `--json`."""
    return site_option(_json_option(command))


def _labels(_: click.Context, __: click.Parameter, values: tuple[str, ...]) -> Mapping[str, str]:
    return pairs(values)


label_option = click.option(
    "--label",
    "-l",
    "labels",
    metavar="NAME=VALUE",
    multiple=True,
    callback=_labels,
    help="A label; may be given more than once.",
)


def _scope(_: click.Context, __: click.Parameter, value: str | None) -> StopScope:
    return StopScope[value.upper()] if value else StopScope.UNSPECIFIED


scope_option = click.option(
    "--scope",
    type=click.Choice(["tree", "leader"]),
    callback=_scope,
    help="Whom the signal of a stop is sent to: all processes, the default, or the first one only.",
)

task_ids_argument = click.argument("task_ids", metavar="ID...", nargs=-1, required=True)
