"""What a site's owner decides: flags over environment over `site.toml` over defaults.

A mistake names the file, the line and the key, and the agent does not start.
"""

from __future__ import annotations

import os
import re
import socket
import tomllib
from pathlib import Path
from typing import Literal

import msgspec


class SettingsError(Exception):
    """The settings cannot be used; the text says where and what to do."""


class LimitSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[limits]`: how much the site takes on."""

    max_live_tasks: int = 10_000
    max_ended_tasks: int = 10_000
    max_poll_tasks: int = 10_000


class TlsSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[tls]`: PEM files for mutual TLS. They are watched: replace them, and new connections use the new ones.

    Attributes:
        certificate: the site's, with the chain up to a root that its callers trust.
        key: the certificate's private key.
        authorities: the roots that sign the certificates of callers.
    """

    certificate: str
    key: str
    authorities: str


class GrantSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[[grants]]`: a role for an identity, or for all that begin with what stands before a final `*`."""

    identity: str
    role: Literal["viewer", "operator", "admin"]


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole of `site.toml`.

    Attributes:
        name: of the site; empty: the host's name.
        state: the directory of database, logs and lock; empty: see `default_state`.
        listen: where to serve, "unix:/path" or "host:port"; empty: the default socket.
        insecure: serve TCP without TLS, on loopback only.
        tls: certificates; TCP needs them.
        grants: who of those with a certificate may do what.
        denied: identities, and SHA-256 fingerprints of certificates, that are let in no more.
        limits: how much the site takes on.
    """

    name: str = ""
    state: str = ""
    listen: str = ""
    insecure: bool = False
    tls: TlsSettings | None = None
    grants: tuple[GrantSettings, ...] = ()
    denied: tuple[str, ...] = ()
    limits: LimitSettings = LimitSettings()


def load(config: str, overrides: dict[str, str | bool]) -> Settings:
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
    try:
        settings = msgspec.convert({**given, **overrides}, Settings)
    except msgspec.ValidationError as error:
        raise SettingsError(_located(config, text, str(error))) from error
    settings = msgspec.structs.replace(
        settings,
        name=settings.name or socket.gethostname(),
        state=settings.state or str(default_state()),
        listen=settings.listen or f"unix:{default_socket(settings.state)}",
    )
    _check(settings)
    return settings


def default_state() -> Path:
    """Return where the agent keeps what must survive: the system's place for root, the user's for others."""
    if os.getuid() == 0:
        return Path("/var/lib/farspawn")
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(base) / "farspawn"


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


def _check(settings: Settings) -> None:
    if not Path(settings.state).is_absolute():
        raise SettingsError(f"state = {settings.state!r}: give an absolute path")
    for name in settings.limits.__struct_fields__:
        if getattr(settings.limits, name) < 1:
            raise SettingsError(f"limits.{name}: give a number above 0")
    if settings.listen.startswith("unix:"):
        if settings.tls is not None:
            raise SettingsError(f"listen = {settings.listen!r}: [tls] is for TCP, a Unix socket needs none")
        # sun_path has 108 bytes, the last one NUL: unix(7).
        if len(os.fsencode(settings.listen.removeprefix("unix:"))) > 107:
            raise SettingsError(f"listen = {settings.listen!r}: a socket's path has at most 107 bytes")
        return
    host, _, port = settings.listen.rpartition(":")
    if not host or not port.isdecimal():
        raise SettingsError(f"listen = {settings.listen!r}: give unix:/path or host:port")
    if settings.tls is not None:
        return
    if not settings.insecure:
        raise SettingsError(
            f"listen = {settings.listen!r}: TCP needs mutual TLS: name certificate, key and authorities under [tls] in "
            "the configuration (`farspawn pki` makes them). Or listen on a Unix socket, or, for loopback only, set "
            "insecure = true (--insecure)"
        )
    if host not in ("127.0.0.1", "localhost", "[::1]"):
        raise SettingsError(f"listen = {settings.listen!r}: insecure is for loopback only: 127.0.0.1 or [::1]")


def _read(config: str) -> str:
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
    keys = [key for key in keys if key]
    return f"{config or 'flags or environment'}:{_line(text, keys)} {'.'.join(keys)}: {what}"


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
