"""The gRPC server: where it listens, what it bears, and how it ends."""

from __future__ import annotations

import os
import socket
import stat
import time
from collections.abc import Callable
from pathlib import Path

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from farspawn_server.rpc.launcher import SERVICE, Launcher
from farspawn_server.rpc.tls import Certificates

# gRPC does not check the names of channel arguments: each of these has a test that sees its effect.
_OPTIONS = (
    ("grpc.so_reuseport", 0),  # on by default: a second agent on the same port would silently share the calls
    ("grpc.max_receive_message_length", 16 << 20),  # room to be told by us, field by field, that argv is too long
    ("grpc.max_concurrent_streams", 1024),
    ("grpc.server_handshake_timeout_ms", 5000),
)


_LAST_WORDS_SECONDS = 5.0


class AddressInUseError(Exception):
    """Somebody listens there already, or the place is not ours; the text says what to do."""


class Server:
    """Serves one Launcher, health and reflection."""

    def __init__(self, launcher: Launcher, address: str, certificates: Certificates | None) -> None:
        """Bind the address; nothing is served before `start`.

        Args:
            launcher: the methods.
            address: "unix:/path" or "host:port".
            certificates: for mutual TLS; None: a Unix socket, or loopback for an owner who said so.

        Raises:
            AddressInUseError: it cannot be had.
        """
        self._grpc = grpc.aio.server(options=_OPTIONS)
        self._grpc.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, dict(launcher.handlers())),))
        self._health = health.aio.HealthServicer()  # pyright: ignore[reportAttributeAccessIssue]  # set at run time
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._grpc)
        names = (SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, self._grpc)
        if address.startswith("unix:"):
            path = Path(address.removeprefix("unix:"))
            _claim_directory(path.parent)
            _once_free(lambda: _probe(path))
        _once_free(lambda: self._bind(address, certificates))

    def _bind(self, address: str, certificates: Certificates | None) -> None:
        try:
            if certificates is None:
                self._grpc.add_insecure_port(address)
            else:
                self._grpc.add_secure_port(address, certificates.credentials())
        except RuntimeError as error:
            raise AddressInUseError(f"cannot listen on {address}: {error}") from error

    async def start(self) -> None:
        """Answer calls; health is NOT_SERVING until `report` says otherwise."""
        await self.report(serving=False)
        await self._grpc.start()

    async def report(self, *, serving: bool) -> None:
        """Tell the health service whether new tasks are taken."""
        status = health_pb2.HealthCheckResponse.SERVING if serving else health_pb2.HealthCheckResponse.NOT_SERVING
        for name in ("", SERVICE):
            await self._health.set(name, status)

    async def stop(self, grace: float) -> None:
        """Take no more calls and end those under way after `grace` seconds."""
        await self._grpc.stop(grace)


def _once_free(take: Callable[[], None]) -> None:
    """Take the address as soon as nobody has it, or raise what `take` raises.

    The server of a keeper that has just died has it for its last words, and until they are stored nobody may read the
    store: this wait is for both.
    """
    deadline = time.monotonic() + _LAST_WORDS_SECONDS
    while True:
        try:
            return take()
        except AddressInUseError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def _claim_directory(directory: Path) -> None:
    """Make the socket's directory ours alone: it is what tells the owner of the site from everybody else."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = directory.stat()
    if found.st_uid != os.getuid() or stat.S_IMODE(found.st_mode) & 0o077:
        raise AddressInUseError(
            f"{directory} must belong to uid {os.getuid()} with mode 0700: whoever can open a socket in it owns "
            "the site's tasks. Choose another directory, or chmod 0700"
        )


def _probe(path: Path) -> None:
    """See that nobody listens on a socket: gRPC would silently replace it."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return  # nothing there, or left over from a dead agent
    raise AddressInUseError(f"another agent listens on {path}: stop that one, or choose another --listen")
