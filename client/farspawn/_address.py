"""Where a site is; not whether anybody answers there."""

import functools
import ipaddress
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote_from_bytes

from farspawn._errors import AddressError

_HELP = "an address is unix:/path/to/socket or host:port"


@dataclass(frozen=True, slots=True)
class Address:
    """A site's address.

    Attributes:
        target: As people write it.
        is_local: Whether what is sent there stays on this machine.
    """

    target: str
    is_local: bool

    @property
    def uri(self) -> str:
        """As gRPC reads it: in the name of a socket %, # and ? would mean something, and a comma ends it."""
        if not self.target.startswith("unix:"):
            return self.target
        path = self.target.removeprefix("unix:")
        return "unix:" + quote_from_bytes(os.fsencode(_without_comma(path) if "," in path else path))


def _without_comma(path: str) -> str:
    """The same socket under a name that has no comma, for gRPC takes that for the end even where it is quoted."""
    directory, name = os.path.split(path)
    if "," in name:
        raise AddressError(f"unix:{path}: gRPC reaches no socket with a comma in its name. Choose another")
    try:
        return f"/proc/self/fd/{_held(directory)}/{name}"
    except OSError:
        return path  # no agent: connecting will say so


@functools.cache
def _held(directory: str) -> int:
    """A descriptor of a directory, for good."""
    return os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)


def address_of(site: str | None, environ: Mapping[str, str], uid: int) -> Address:
    """Finds the address a caller means.

    Args:
        site: `unix:/path` or `host:port`; None or empty: what FARSPAWN_SITE says, else the local socket.
        environ: The environment.
        uid: The caller's user id.

    Raises:
        AddressError: It is neither.
    """
    return _parse(site or environ.get("FARSPAWN_SITE") or default_site(environ, uid))


def default_site(environ: Mapping[str, str], uid: int) -> str:
    """The address of the agent that this user started on this machine, with no configuration at all."""
    if state := environ.get("FARSPAWN_STATE"):
        # Relative to where we are now, not to where we may be later.
        return f"unix:{os.path.abspath(state)}/farspawnd.sock"
    if uid == 0:
        return "unix:/run/farspawn/farspawnd.sock"
    if runtime := environ.get("XDG_RUNTIME_DIR"):
        return f"unix:{runtime}/farspawn/farspawnd.sock"
    directory = f"/tmp/farspawn-{uid}"  # noqa: S108  # its owner and mode are checked before use
    _refuse_foreign(directory, uid)
    return f"unix:{directory}/farspawnd.sock"


def _refuse_foreign(directory: str, uid: int) -> None:
    """Anybody may make a directory in /tmp, and listen in it for what we would tell our agent."""
    try:
        found = os.lstat(directory)
    except OSError:
        return  # no agent: connecting will say so
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != uid or found.st_mode & 0o077:
        raise AddressError(
            f"{directory} is not a directory that only uid {uid} can enter: no agent of yours made it. Remove it, or "
            "say where your agent is: --site, or FARSPAWN_SITE"
        )


def _parse(text: str) -> Address:
    if text.startswith("unix:"):
        if not text.removeprefix("unix:").strip("/"):
            raise AddressError(f"{text!r} names no socket: {_HELP}")
        return Address(text, is_local=True)
    host, colon, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    # More colons are a scheme (dns:, https:) or an IPv6 address without brackets.
    if not colon or not host or "/" in host or (":" in host and not bracketed):
        raise AddressError(f"{text!r} is no address: {_HELP} ([::1]:port for IPv6)")
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise AddressError(f"{text!r} has no port: {_HELP}")
    return Address(text, is_local=_is_loopback(host.strip("[]")))


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        # The one name that RFC 6761 reserves for loopback.
        return host.lower() == "localhost"
