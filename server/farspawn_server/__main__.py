"""`farspawnd`: check what the site's owner asks for, then become the keeper; or tell a running one to renew itself."""

from __future__ import annotations

import fcntl
import importlib
import os
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import click
import msgspec

from farspawn_core import cgroup
from farspawn_core.stderr import hold_standard_streams
from farspawn_server import settings as site_settings
from farspawn_server import strict
from farspawn_server.audit_commands import audit
from farspawn_server.keeper.guard import BAD_CONFIGURATION

_RELOAD_SECONDS = 30.0


class _UnusableSettings(click.ClickException):
    exit_code = BAD_CONFIGURATION  # trying again will not help


@click.group(
    invoke_without_command=True,
    context_settings={"auto_envvar_prefix": "FARSPAWND", "help_option_names": ["-h", "--help"]},
)
@click.option("--config", type=click.Path(dir_okay=False), help="The site's settings, a TOML file.")
@click.option("--state", envvar="FARSPAWN_STATE", help="Directory of database, logs and lock.")
@click.option(
    "--listen",
    multiple=True,
    help="unix:/path or host:port; may be given several times. A Unix socket of your own is always there.",
)
@click.option("--insecure", is_flag=True, default=None, help="Serve TCP without TLS, on loopback only.")
@click.option("--name", help="The site's name. Default: the host's.")
@click.option("--check-config", is_flag=True, help="Check the settings, say what they come to, and end.")
@click.version_option(package_name="farspawn")
@click.pass_context
def farspawnd(
    context: click.Context, /, *, config: str | None, check_config: bool, **flags: site_settings.Given | None
) -> None:
    """Launch, watch and stop processes on this machine for whoever its owner allows.

    Without a command it becomes the agent, and listens on a Unix socket that only you can open. SIGTERM or Ctrl-C
    stops all tasks by their plans and ends the agent; a second one kills them. Every option can come from the
    environment as FARSPAWND_OPTION; several addresses have spaces between them there.
    """
    given = {name: value for name, value in flags.items() if value not in (None, ())}
    try:
        controllers = None
        if context.invoked_subcommand is None:
            home = cgroup.home()
            controllers = () if home is None else home.controllers
        settings = site_settings.load(config or "", given, controllers)
        if check_config:
            click.echo(msgspec.json.format(msgspec.json.encode(settings)).decode())
            return
        context.obj = settings
        if context.invoked_subcommand is not None:
            return
        if not Path(f"/proc/self/task/{os.getpid()}/children").exists():
            raise click.ClickException(
                "tasks could not be stopped: this kernel tells nobody's children (CONFIG_PROC_CHILDREN; "
                "is /proc mounted?)"
            )
        strict.make(Path(settings.state))
        strict.close(Path(settings.state))
    except site_settings.SettingsError as error:
        raise _UnusableSettings(str(error)) from error
    except OSError as error:
        raise click.ClickException(str(error)) from error
    become_keeper(settings.state, {**given, "config": str(Path(config).resolve()) if config else ""})


farspawnd.add_command(audit)


@farspawnd.command()
@click.pass_obj
def reload(settings: site_settings.Settings) -> None:
    """Renew a running agent: its settings, and its code after an upgrade. No task notices, no exit is lost."""
    # What the keeper is about to execute, tried where a mistake costs nothing.
    for module in ("farspawn_server.keeper.__main__", "farspawn_server.rpc.__main__"):
        importlib.import_module(module)

    path = Path(settings.state) / "keeper.lock"
    keeper, images = _lock_holder(path)
    os.kill(keeper, signal.SIGUSR1)  # noqa: TID251  # the keeper said by its lock that this pid is its own
    deadline = time.monotonic() + _RELOAD_SECONDS
    while (now := _lock_holder(path)) == (keeper, images):
        if time.monotonic() > deadline:
            raise click.ClickException(
                f"agent {keeper} has not renewed itself after {_RELOAD_SECONDS:g} s: see its log; its tasks run on"
            )
        time.sleep(0.05)  # the keeper signs its lock when it has begun anew: nothing else tells
    if now[0] != keeper:
        raise click.ClickException(f"agent {keeper} has ended instead, and agent {now[0]} has taken its place")
    click.echo(f"agent {keeper} has renewed itself")


def _lock_holder(path: Path) -> tuple[int, int]:
    """Return the pid of the agent that holds a state directory, and how often it has renewed itself."""
    try:
        while True:
            with path.open(encoding="ascii") as lock:
                try:
                    fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
                except BlockingIOError:
                    if words := lock.read().split():
                        _check_shims(words)
                        return int(words[0]), int(words[1])
                else:
                    raise click.ClickException(f"no agent runs on {path.parent}")
            time.sleep(0.01)  # it has just taken the lock, and is about to sign it
    except OSError as error:
        raise click.ClickException(f"no agent has this state directory: {error}") from error


def _check_shims(words: list[str]) -> None:
    if "shims" not in words[2:]:
        raise click.ClickException(
            f"agent {words[0]} is older than the tasks' shims (0.1), and would lose its tasks: stop it (SIGTERM) when "
            "they may end, and start this one"
        )


def become_keeper(state: str, given: Mapping[str, site_settings.Given]) -> None:
    """Execute the keeper in our place: it inherits the pid, and none of what was imported here."""
    python = [sys.executable, "-X", "utf8", "-P", "-m"]  # what our names and files hold is not the locale's to say
    server = [*python, "farspawn_server.rpc", msgspec.json.encode(given).decode()]
    os.execv(sys.executable, [*python, "farspawn_server.keeper", state, *server])  # noqa: S606  # no shell is the point


def main() -> None:
    """Begin with our standard streams open, and in UTF-8, whatever the locale."""
    hold_standard_streams()
    if sys.getfilesystemencoding() != "utf-8":
        words = [sys.executable, "-X", "utf8", "-P", "-m", "farspawn_server", *sys.argv[1:]]
        os.execv(sys.executable, words)  # noqa: S606  # no shell is the point
    farspawnd(prog_name="farspawnd")


if __name__ == "__main__":
    main()
