"""`farspawn pki`: certificates for people with no PKI of their own."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from farspawn._cli.as_json import print_document
from farspawn._cli.harmless import harmless
from farspawn._cli.options import Settings, common_options, pass_settings

if TYPE_CHECKING:
    from farspawn._pki import Certificate

# The library is loaded by the commands below: it takes a while, and no other command needs it.

_DAYS = 90


@click.group()
@click.option(
    "--directory",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("pki"),
    show_default=True,
    help="Where the certificates are. Its ca.key is the key to all your sites: keep it off them.",
)
@click.pass_context
def pki(context: click.Context, directory: Path) -> None:
    """Make an authority, and certificates of it for sites and callers.

    A site needs its own .pem and .key, and ca.pem; a caller likewise. If you
    have a PKI, use that: any certificate will do that names exactly one URI,
    best a SPIFFE id, or exactly one DNS name.
    """
    context.meta["farspawn.pki"] = directory


def _directory() -> Path:
    found = click.get_current_context().meta["farspawn.pki"]
    assert isinstance(found, Path)
    return found


days_option = click.option("--days", type=int, default=_DAYS, show_default=True, help="How long it is good for.")


@pki.command()
@click.option("--name", default="farspawn", show_default=True, help="The authority's name, for people.")
@common_options
@pass_settings
def init(settings: Settings, name: str) -> None:
    """Make the authority. Once; `site` does it by itself."""
    from farspawn import _pki

    _tell(settings, _pki.make_authority(_directory(), name=name))


@pki.command()
@click.argument("name")
@click.option("--host", "hosts", multiple=True, required=True, help="A host name or address that callers use. Repeat.")
@click.option("--operator", "operators", multiple=True, metavar="IDENTITY", help="Who may launch tasks there. Repeat.")
@days_option
@common_options
@pass_settings
def site(settings: Settings, name: str, hosts: tuple[str, ...], operators: tuple[str, ...], days: int) -> None:
    """Issue a certificate for a site: NAME.pem and NAME.key.

    Makes the authority if there is none yet, and NAME.toml, settings for
    farspawnd to begin with.
    """
    from farspawn import _pki, _pki_settings

    directory = _directory()
    if not _pki.has_authority(directory):
        _pki.make_authority(directory, name="farspawn")
    _tell(settings, _pki.issue_site(directory, name, hosts=hosts, days=days))
    path = _pki_settings.write_settings(directory, name, operators=operators)
    if not settings.as_json:
        click.echo(f"settings     {harmless(str(path))}")


@pki.command()
@click.argument("name")
@click.option("--identity", required=True, help="As whom sites know the caller: a URI, best a SPIFFE id.")
@days_option
@common_options
@pass_settings
def client(settings: Settings, name: str, identity: str, days: int) -> None:
    """Issue a certificate for a caller: NAME.pem and NAME.key."""
    from farspawn import _pki

    _tell(settings, _pki.issue_client(_directory(), name, identity=identity, days=days))


@pki.command()
@click.argument("name")
@days_option
@common_options
@pass_settings
def renew(settings: Settings, name: str, days: int) -> None:
    """Issue a certificate anew, with a new key. A running site takes it by itself."""
    from farspawn import _pki

    _tell(settings, _pki.renew(_directory(), name, days=days))


@pki.command()
@click.argument("name")
@common_options
@pass_settings
def show(settings: Settings, name: str) -> None:
    """Tell what a certificate says. NAME is as above, or a file."""
    from farspawn import _pki

    path = Path(name) if os.sep in name else _directory() / f"{name}.pem"
    _tell(settings, _pki.show(path))


def _tell(settings: Settings, certificate: Certificate) -> None:
    if settings.as_json:
        print_document(certificate)
        return
    for name, value in (
        ("certificate", certificate.path),
        ("names", ", ".join(certificate.names)),
        ("good from", f"{certificate.not_before:%Y-%m-%d %H:%M} UTC"),
        ("good until", f"{certificate.not_after:%Y-%m-%d %H:%M} UTC"),
        ("SHA-256", certificate.fingerprint),
    ):
        click.echo(f"{name:<12} {harmless(value)}")
