"""The gRPC server: where it listens, what it bears, and how it ends."""

from __future__ import annotations

import asyncio
import functools
import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc

from farspawn_server.rpc import health, sockets
from farspawn_server.rpc.gate import Gate
from farspawn_server.rpc.launcher import SERVICE, Launcher
from farspawn_server.rpc.reflecting import Reflection
from farspawn_server.rpc.sockets import SCHEME, AddressInUseError
from farspawn_server.rpc.tls import Certificates

log = logging.getLogger(__name__)

# gRPC does not check the names of channel arguments: each of these has a test that fails without it.
_OPTIONS = (
    ("grpc.so_reuseport", 0),  # on by default: a second agent on the same port would silently share the calls
    ("grpc.max_receive_message_length", 4 << 20),  # twice what any method takes: room to be told by us, see parsing.py
    # What a connection may have us do at once. A client that opens and resets calls as fast as it can makes us do ten
    # times as much with 1024 of them. Who needs more takes more connections, as farspawn's clients do by themselves.
    ("grpc.max_concurrent_streams", 100),
    # Of calls that come faster than we take them in, gRPC by default cancels some from the thousandth on, at random.
    ("grpc.server.max_pending_requests", 10_000),
    ("grpc.server.max_pending_requests_hard_limit", 20_000),
    ("grpc.server_handshake_timeout_ms", 5000),
    # Pings, where there are calls: a peer that is gone, or reads nothing at all, does not answer.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    # What a client's own pings may be as frequent as: behind some firewalls ten seconds are the rule. By default gRPC
    # takes more than one in five minutes on a quiet call for an attack, and closes the connection.
    ("grpc.http2.min_ping_interval_without_data_ms", 5000),
    # A handshake asks whether an authority is still trusted: everybody makes a new one now and then. Calls that are
    # under way then have the grace, more than the longest poll; streams are resumed.
    ("grpc.max_connection_age_ms", 30 * 60_000),
    ("grpc.max_connection_age_grace_ms", 6 * 60_000),
    # A connection without a call is closed, without harm: gRPC's clients connect again when they call again. One with
    # a watch or a long poll is never idle. gRPC looks once in that time, so it may take twice as long. Short, for it
    # bounds how long somebody without a role, whose calls end at once, holds a place that others need.
    ("grpc.max_connection_idle_ms", 10_000),
)

_LAST_WORDS_SECONDS = 5.0
_LOOK_EVERY_SECONDS = 1.0


class Server:
    """Serves one Launcher, health and reflection."""

    def __init__(
        self,
        launcher: Launcher,
        gate: Gate,
        addresses: Sequence[str],
        certificates: Certificates | None,
        max_connections: int,
    ) -> None:
        """Bind the addresses; nothing is served before `start`.

        Args:
            launcher: the methods.
            gate: lets callers in, also those of health and reflection.
            addresses: each "unix:/path" or "host:port".
            certificates: for mutual TLS over TCP; None: there is none but on loopback, for an owner who said so.
            max_connections: that there may be at once at each address; one more is closed.

        Raises:
            AddressInUseError: one cannot be had.
        """
        options = (*_OPTIONS, ("grpc.max_allowed_incoming_connections", max_connections))
        self._grpc = grpc.aio.server(options=options)
        self._health = health.Health(gate, SERVICE, reflection.SERVICE_NAME)
        for service, methods in ((SERVICE, launcher.handlers()), (health.NAME, self._health.handlers())):
            self._grpc.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, dict(methods)),))
        described = (SERVICE, health.NAME, reflection.SERVICE_NAME)
        reflection_pb2_grpc.add_ServerReflectionServicer_to_server(Reflection(gate, described), self._grpc)
        self._sockets = [Path(each.removeprefix(SCHEME)) for each in addresses if each.startswith(SCHEME)]
        for path in self._sockets:
            _once_free(functools.partial(self._bind_socket, path))
        for address in addresses:
            if not address.startswith(SCHEME):
                _once_free(functools.partial(self._bind, address, certificates))

    def _bind_socket(self, path: Path) -> None:
        sockets.claim(path)
        self._bind(sockets.target(path), None)

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
        await self._grpc.start()

    async def socket_gone(self) -> None:
        """Return when a socket's file has been removed, and could be made again: only another server can do that."""
        told = ""
        while True:
            await asyncio.sleep(_LOOK_EVERY_SECONDS)
            for path in self._sockets:
                if sockets.is_there(path):
                    continue
                try:
                    sockets.claim_directory(path.parent)
                except (OSError, AddressInUseError) as error:
                    if told != str(error):
                        told = str(error)
                        log.warning("socket gone, and not to be made again", extra={"path": str(path), "error": told})
                else:
                    log.warning("socket gone, made again by another server", extra={"path": str(path)})
                    return

    def report(self, *, serving: bool) -> None:
        """Tell the health service whether new tasks are taken."""
        self._health.report(serving=serving)

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
            time.sleep(0.05)  # nothing tells when an address or a lock is free
