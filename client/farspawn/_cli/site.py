"""`farspawn site`: tells what a site is."""

from datetime import datetime

import click

from farspawn._cli.as_json import print_document
from farspawn._cli.harmless import harmless
from farspawn._cli.options import Settings, common_options, pass_settings


@click.command()
@common_options
@pass_settings
def site(settings: Settings) -> None:
    """Tell what the site is: version, capabilities, limits, load."""
    with settings.client() as client:
        address, about = client.address, client.site()
    if settings.as_json:
        print_document(about)
        return
    limits, load = about.limits, about.load
    for name, value in (
        ("name", about.name),
        ("address", address),
        ("version", about.version),
        ("state", about.state.name.lower()),
        ("boot id", about.boot_id),
        ("server up since", _moment(about.server_started)),
        ("keeper up since", _moment(about.keeper_started)),
        ("containment", ", ".join(tier.name.lower() for tier in about.containment)),
        ("live tasks", f"{load.live_tasks} (at most: {_limit(limits.max_live_tasks)})"),
        ("ended tasks", f"{load.ended_tasks} (remembered at most: {_limit(limits.max_ended_tasks)})"),
        ("bytes of command", f"at most: {_limit(limits.max_command_bytes)}"),
        ("ids in one poll", f"at most: {_limit(limits.max_poll_tasks)}"),
        ("revision", str(about.revision)),
    ):
        click.echo(f"{name:<16} {harmless(value)}")


def _limit(limit: int) -> str:
    return str(limit) if limit else "no limit"


def _moment(moment: datetime | None) -> str:
    return moment.astimezone().isoformat(sep=" ", timespec="seconds") if moment else "unknown"
