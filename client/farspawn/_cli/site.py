"""`farspawn site`: tells what a site is."""

from collections.abc import Iterator
from datetime import datetime, timedelta

import click

from farspawn._cli.as_json import print_document
from farspawn._cli.harmless import harmless
from farspawn._cli.options import Settings, common_options, pass_settings
from farspawn._cli.resources import limits_text
from farspawn._cli.templates import print_templates
from farspawn._cli.words import span_exactly
from farspawn._values import Admission, Site

_ADMISSION = {
    Admission.UNSPECIFIED: "unknown",
    Admission.TEMPLATES: "templates",
    Admission.PROGRAMS: "templates, and the programs of a list",
    Admission.ANY: "any program",
}


@click.command()
@common_options
@pass_settings
def site(settings: Settings) -> None:
    """Tell what the site is: version, capabilities, what may run, limits, load."""
    with settings.client() as client:
        address, about = client.address, client.site()
    if settings.as_json:
        print_document(about)
        return
    for name, value in _facts(address, about):
        click.echo(f"{name:<18} {harmless(value)}")
    if about.templates:
        click.echo()
        print_templates(about.templates)


def _facts(address: str, about: Site) -> Iterator[tuple[str, str]]:
    limits, load = about.limits, about.load
    yield "name", about.name
    yield "address", address
    yield "version", about.version
    yield "state", about.state.name.lower()
    yield "boot id", about.boot_id
    yield "server up since", _moment(about.server_started)
    yield "keeper up since", _moment(about.keeper_started)
    yield "containment", ", ".join(tier.name.lower() for tier in about.containment)
    yield "runs", _ADMISSION[about.admission]
    yield "live tasks", f"{load.live_tasks} (at most: {_limit(limits.max_live_tasks)})"
    yield "... of one owner", f"at most: {_limit(limits.max_live_tasks_per_owner)}"
    yield "... launches", f"of one owner in a second: {_limit(limits.max_launches_per_second)}"
    yield "ended tasks", f"{load.ended_tasks} (remembered at most: {_limit(limits.max_ended_tasks)})"
    yield "bytes of command", f"at most: {_limit(limits.max_command_bytes)}"
    yield "ids in one poll", f"at most: {_limit(limits.max_poll_tasks)}"
    yield "a task runs", f"at most: {_span(limits.max_runtime)}"
    yield "a task's lease", f"at most: {_span(limits.max_lease_ttl)}"
    yield "a task uses", f"at most: {limits_text(limits.resources) or _limit(0)}"
    yield "can limit", ", ".join(_words(kind.name) for kind in about.enforceable_limits)
    yield "revision", str(about.revision)


def _words(name: str) -> str:
    return name.lower().replace("_", " ")


def _limit(limit: float) -> str:
    return f"{limit:.15g}" if limit else "no limit"


def _span(span: timedelta | None) -> str:
    return span_exactly(span) if span else "no limit"


def _moment(moment: datetime | None) -> str:
    return moment.astimezone().isoformat(sep=" ", timespec="seconds") if moment else "unknown"
