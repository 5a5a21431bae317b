"""What every command can be told: which site, and in which form to answer."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import click

from farspawn._cli.parsing import pairs
from farspawn._client import Client

F = TypeVar("F", bound=Callable[..., object])


@dataclass(slots=True)
class Settings:
    """What was said so far, while the command line is being read; made by `main`.

    Attributes:
        site: The address; None: the default.
        as_json: Whether to answer in JSON, errors too.
        failure_code: The exit code if the site fails us.
    """

    site: str | None = None
    as_json: bool = False
    failure_code: int = 1

    def client(self) -> Client:
        """A client of the site."""
        return Client(self.site)

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

task_ids_argument = click.argument("task_ids", metavar="ID...", nargs=-1, required=True)
