"""`farspawnd`: check what the site's owner asks for, then become the keeper."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click
import msgspec

from farspawn_server import settings as site_settings


@click.command(context_settings={"auto_envvar_prefix": "FARSPAWND", "help_option_names": ["-h", "--help"]})
@click.option("--config", type=click.Path(dir_okay=False), help="The site's settings, a TOML file.")
@click.option("--state", envvar="FARSPAWN_STATE", help="Directory of database, logs and lock.")
@click.option("--listen", help="unix:/path, or host:port. Default: a Unix socket in a directory of your own.")
@click.option("--insecure", is_flag=True, default=None, help="Serve TCP without TLS, on loopback only.")
@click.option("--name", help="The site's name. Default: the host's.")
@click.option("--check-config", is_flag=True, help="Check the settings, say what they come to, and end.")
@click.version_option(package_name="farspawn")
def main(*, config: str | None, check_config: bool, **flags: str | bool | None) -> None:
    """Launch, watch and stop processes on this machine for whoever its owner allows.

    Without arguments it listens on a Unix socket that only you can open. SIGTERM or Ctrl-C stops all tasks by their
    plans and ends the agent; a second one kills them. Every option can come from the environment as FARSPAWND_OPTION.
    """
    overrides = {name: value for name, value in flags.items() if value is not None}
    try:
        settings = site_settings.load(config or "", overrides)
        if check_config:
            click.echo(msgspec.json.format(msgspec.json.encode(settings)).decode())
            return
        Path(settings.state).mkdir(mode=0o700, parents=True, exist_ok=True)
    except (site_settings.SettingsError, OSError) as error:
        raise click.ClickException(str(error)) from error
    become_keeper(settings.state, {**overrides, "config": str(Path(config).resolve()) if config else ""})


def become_keeper(state: str, given: dict[str, str | bool]) -> None:
    """Execute the keeper in our place: it inherits the pid, and none of what was imported here."""
    python = [sys.executable, "-P", "-m"]
    server = [*python, "farspawn_server.rpc", msgspec.json.encode(given).decode()]
    os.execv(sys.executable, [*python, "farspawn_server.keeper", state, *server])  # noqa: S606  # no shell is the point


if __name__ == "__main__":
    main()
