"""Read the settings: flags over environment over `site.toml` over defaults.

A mistake names the file, the line and the key, and the agent does not start.
"""

from __future__ import annotations

import os
import re
import socket
import tomllib
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import msgspec

from farspawn_server import strict
from farspawn_server.settings.check import problems, unenforceable_ceilings
from farspawn_server.settings.schema import Settings

Given = str | bool | Sequence[str]
"""What a flag or a variable of the environment says."""


class SettingsError(Exception):
    """The settings cannot be used; the text says where and what to do."""


def load(config: str, overrides: Mapping[str, Given]) -> Settings:
    """Return the settings, complete.

    Args:
        config: path of a site.toml; empty: none.
        overrides: fields of Settings given by flags or environment.

    Raises:
        SettingsError: something cannot be used.
    """
    text = _read(config) if config else ""
    try:
        given = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{config}: {error}") from error
    given |= overrides
    if isinstance(given.get("listen"), str):
        given["listen"] = [given["listen"]]
    try:
        settings = msgspec.convert(given, Settings)
    except msgspec.ValidationError as error:
        raise SettingsError(_located(config, text, str(error))) from error
    settings = msgspec.structs.replace(
        settings,
        name=settings.name or socket.gethostname(),
        state=settings.state or str(default_state()),
        listen=_with_socket(settings),
    )
    for key, problem in problems(settings):
        raise SettingsError(_at(config, text, key.split("."), problem))
    return settings


def check_enforceable(config: str, settings: Settings, controllers: Collection[str]) -> None:
    """Refuse limits that cannot be enforced: what the owner asks for must not be lost without a word.

    Args:
        config: what the settings were read from; empty: nothing.
        settings: complete.
        controllers: what the cgroups of tasks can limit: of "memory", "pids".

    Raises:
        SettingsError: one cannot.
    """
    for key, problem in unenforceable_ceilings(settings, controllers):
        raise SettingsError(_at(config, _read(config) if config else "", key.split("."), problem))


def default_state() -> Path:
    """Return where the agent keeps what must survive: the system's place for root, the user's for others."""
    if os.getuid() == 0:
        return Path("/var/lib/farspawn")
    if base := os.environ.get("XDG_STATE_HOME"):
        return Path(base) / "farspawn"
    try:
        return Path.home() / ".local" / "state" / "farspawn"
    except RuntimeError as error:  # a container's user need not be in its passwd
        raise SettingsError(f"state: give a directory (--state, FARSPAWN_STATE): {error}") from error


def _with_socket(settings: Settings) -> tuple[str, ...]:
    """Return where to serve: nobody who comes over TCP can then keep the owner from the agent."""
    if any(address.startswith("unix:") for address in settings.listen):
        return settings.listen
    return (f"unix:{default_socket(settings.state)}", *settings.listen)


def default_socket(state: str) -> Path:
    """Return where the agent listens; the client's `_address.py` has the same rule.

    `state` is the directory that was asked for by name, empty: none was.
    """
    if state:
        return Path(state) / "farspawnd.sock"
    if os.getuid() == 0:
        return Path("/run/farspawn/farspawnd.sock")
    if runtime := os.environ.get("XDG_RUNTIME_DIR"):
        return Path(runtime) / "farspawn" / "farspawnd.sock"
    return Path(f"/tmp/farspawn-{os.getuid()}/farspawnd.sock")  # noqa: S108  # its owner and mode are checked before use


def _read(config: str) -> str:
    if problem := strict.problem(Path(config)):
        raise SettingsError(f"{config}: {problem}")
    try:
        return Path(config).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{config}: {error}") from error


def _located(config: str, text: str, problem: str) -> str:
    """Put file and line before what msgspec says, for instance: Expected `int`, got `str` - at `$.limits.max`."""
    what, _, path = problem.partition(" - at ")
    keys = path.strip("`").removeprefix("$").strip(".").split(".") if path else []
    if unknown := re.search(r"unknown field `([^`]+)`", what):
        keys.append(unknown[1])
    return _at(config, text, [key for key in keys if key], what)


def _at(config: str, text: str, keys: list[str], problem: str) -> str:
    line = _line(text, keys)
    where = f"{config}:{line}" if line else config or "flags or environment"
    return f"{where} {'.'.join(keys)}: {problem}"


def _line(text: str, keys: list[str]) -> int:
    """Return the number of the line that sets a key, as `table.key` or as `key` under `[table]`; 0: not found."""
    table: list[str] = []
    for number, line in enumerate(text.splitlines(), start=1):
        if header := re.match(r"\s*\[+\s*([^\]]+?)\s*\]+", line):
            table = [part.strip(" \"'") for part in header[1].split(".")]
            if table == keys:
                return number
            continue
        assignment = re.match(r"\s*([^=#]+?)\s*=", line)
        if assignment and [*table, *(part.strip(" \"'") for part in assignment[1].split("."))] == keys:
            return number
    return 0
