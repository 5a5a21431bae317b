"""A Unix socket of the owner's: its directory, its file, and its name for gRPC.

Its directory is what tells the owner of the site from everybody else.
"""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path
from urllib.parse import quote_from_bytes

from farspawn_server import strict

SCHEME = "unix:"


class AddressInUseError(Exception):
    """Somebody listens there already, or the place is not ours; the text says what to do."""


def target(path: Path) -> str:
    """Return the address of a socket for gRPC, which reads it as a URI: %, # and ? mean something there."""
    return SCHEME + quote_from_bytes(os.fsencode(path))


def claim(path: Path) -> None:
    """Make the socket's directory, and see that it is ours alone and nobody listens there.

    Raises:
        AddressInUseError: it is not, or somebody does.
        OSError: it cannot be made.
    """
    claim_directory(path.parent)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(os.fspath(path))
        except OSError:
            return  # nothing there, or left over from a dead agent
    # gRPC would silently replace it.
    raise AddressInUseError(f"another agent listens on {path}: stop that one, or choose another --listen")


def is_there(path: Path) -> bool:
    """Whether something has the socket's name: that it is another's is not for us to mend."""
    return os.path.lexists(path)


def claim_directory(directory: Path) -> None:
    """Make a directory for a socket, and see that it is ours alone."""
    strict.make(directory)
    if problem := strict.problem_of_directory(directory):
        raise AddressInUseError(problem)
    strict.close(directory)
    # Not through a symbolic link: whoever owns that can point it elsewhere, to a socket of theirs.
    found = directory.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or stat.S_IMODE(found.st_mode) & 0o077:
        raise AddressInUseError(
            f"{directory} must be a directory, not a symbolic link, and belong to uid {os.getuid()} with mode 0700: "
            "whoever can open a socket in it owns the site's tasks. Choose another directory, or chmod 0700"
        )
