"""Read the settings: flags over environment over `site.toml` over defaults.

Each mistake names the file, the line and the key, and the agent does not start.
"""

from __future__ import annotations

import os
import re
import socket
import tomllib
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from farspawn_server import strict
from farspawn_server.settings.check import problems, unenforceable_ceilings
from farspawn_server.settings.schema import Settings
from farspawn_server.settings.shape import misfits

Given = str | bool | Sequence[str]
"""What a flag or a variable of the environment says."""


_TOGETHER = ("listen", "insecure", "tls")
_APART = ("limits", "ceilings", "audit", "drain", "templates")  # what is in these tables is judged one by one


class SettingsError(Exception):
    """The settings cannot be used; the text says where and what to do."""


def load(config: str, overrides: Mapping[str, Given], controllers: Collection[str] | None = None) -> Settings:
    """Return the settings, complete.

    Args:
        config: path of a site.toml; empty: none.
        overrides: fields of Settings given by flags or environment.
        controllers: what the cgroups of tasks can limit: limits are refused that cannot be enforced; None: not now.

    Raises:
        SettingsError: something cannot be used; it tells all that there is.
    """
    text = _read(config) if config else ""
    try:
        given = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{config}: {error}") from error
    given |= overrides
    if isinstance(given.get("listen"), str):
        given["listen"] = [given["listen"]]
    found = list(misfits(given, Settings, []))
    for keys, _ in found:
        _drop(given, keys)  # what is said of the rest must not come from this
    settings = msgspec.convert(given, Settings)
    settings = msgspec.structs.replace(
        settings,
        name=settings.name or socket.gethostname(),
        state=settings.state or str(default_state()),
        listen=_with_socket(settings),
    )
    found += ((key.split("."), problem) for key, problem in problems(settings))
    if controllers is not None and not any(keys == ["policy", "user"] for keys, _ in found):
        found += ((key.split("."), problem) for key, problem in unenforceable_ceilings(settings, controllers))
    if found:
        found.sort(key=lambda each: _line(text, each[0]))
        raise SettingsError("\n".join(_at(config, text, keys, problem) for keys, problem in found))
    return settings


def _drop(given: dict[str, Any], keys: list[str]) -> None:
    """Take out what holds a mistake, and what cannot be judged without it."""
    top = keys[0].partition("[")[0]
    if len(keys) > 1 and top in _APART and isinstance(given.get(top), dict):
        given[top].pop(keys[1], None)
        return
    for name in _TOGETHER if top in _TOGETHER else (top,):
        given.pop(name, None)


def check_enforceable(config: str, settings: Settings, controllers: Collection[str]) -> None:
    """Refuse limits that cannot be enforced: what the owner asks for must not be lost without a word.

    Args:
        config: what the settings were read from; empty: nothing.
        settings: complete.
        controllers: what the cgroups of tasks can limit: of "memory", "pids".

    Raises:
        SettingsError: one cannot.
    """
    text = _read(config) if config else ""
    found = [_at(config, text, key.split("."), what) for key, what in unenforceable_ceilings(settings, controllers)]
    if found:
        raise SettingsError("\n".join(found))


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


def _at(config: str, text: str, keys: list[str], problem: str) -> str:
    line = _line(text, keys)
    where = f"{config}:{line}" if line else config or "flags or environment"
    return f"{where} {'.'.join(keys)}: {problem}"


def _line(text: str, keys: list[str]) -> int:
    """Return the number of the line that sets a key, or else that of the table that it is in; 0: not found."""
    lines = dict(_lines(text))
    for count in range(len(keys), 0, -1):
        for path in (keys[:count], [*keys[: count - 1], keys[count - 1].partition("[")[0]]):
            if (number := lines.get(".".join(path))) is not None:
                return number
    return 0


def _lines(text: str) -> Iterator[tuple[str, int]]:
    """Yield each key that a line sets, as `key` under `[table]` or as `table.key`, and the number of that line."""
    table, counts = "", Counter[str]()
    for number, line in enumerate(text.splitlines(), start=1):
        if header := re.match(r"\s*(\[+)\s*([^\]]+?)\s*\]+", line):
            table = _plain(header[2])
            if header[1] == "[[":
                counts[table] += 1
                table = f"{table}[{counts[table] - 1}]"
            yield table, number
        elif assignment := re.match(r"\s*([^=#]+?)\s*=", line):
            yield ".".join(filter(None, (table, _plain(assignment[1])))), number


def _plain(key: str) -> str:
    return ".".join(part.strip(" \"'") for part in key.split("."))
