"""Who is calling? Read from the connection, never from the message; then asked of the site's policy.

The identity is that of the client's certificate: exactly one SPIFFE id or other URI among its subject alternative
names, else exactly one DNS name, else nobody. The common name means nothing. A Unix socket has no certificates: there,
and where the site's owner said --insecure, everybody is the owner, for nobody else gets that far.
"""

from __future__ import annotations

import asyncio
import hashlib
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping
from typing import Any, TypeVar

import grpc

from farspawn_server.policy import LOCAL, Caller, Roster, authorise
from farspawn_server.task.errors import UnauthenticatedError

_Context = grpc.aio.ServicerContext[Any, Any]
_T = TypeVar("_T")


class Gate:
    """Lets callers in. Used from one event loop."""

    def __init__(self, roster: Roster | None) -> None:
        """`roster` holds until `renew`. None: there are no certificates here, and everybody is the owner."""
        self._roster = roster
        self._renewed = asyncio.Event()

    def renew(self, roster: Roster | None) -> None:
        """Let others in from now on; streams of those who are let in no more end. Certificates come only at start."""
        if self._roster is None or roster is None:
            return
        self._roster = roster
        self._renewed.set()
        self._renewed = asyncio.Event()

    def admit(self, context: _Context, method: str) -> Caller:
        """Return the caller of a method of the contract.

        Raises:
            UnauthenticatedError: there is no identity to be had from the connection.
            PolicyDeniedError: the site's owner does not allow it.
        """
        if self._roster is None:
            return LOCAL
        facts = context.auth_context()
        caller = self._roster.admit(identity(facts), fingerprint(facts))
        authorise(caller, method)
        return caller

    async def while_admitted(
        self, context: _Context, method: str, answers: AsyncIterator[_T]
    ) -> AsyncGenerator[_T, None]:
        """Yield the answers of a stream, as long as its caller may have them.

        Raises:
            PolicyDeniedError: the site's owner allows it no more.
        """
        if self._roster is None:
            async for answer in answers:  # the owner's own: nothing can change for it
                yield answer
            return
        coming: asyncio.Future[_T] | None = None
        renewal = asyncio.ensure_future(self._renewed.wait())
        try:
            while True:
                coming = coming or asyncio.ensure_future(anext(answers))
                either: set[asyncio.Future[Any]] = {coming, renewal}
                await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
                if renewal.done():
                    self.admit(context, method)
                    renewal = asyncio.ensure_future(self._renewed.wait())
                if coming.done():
                    try:
                        answer = coming.result()
                    except StopAsyncIteration:
                        return
                    coming = None
                    yield answer
        finally:
            renewal.cancel()
            if coming is not None:
                coming.cancel()


def identity(facts: Mapping[str, Iterable[bytes]]) -> str:
    """Return whom a certificate names.

    Args:
        facts: what gRPC says of the connection, by the names of its auth context.

    Raises:
        UnauthenticatedError: it names nobody, or several.
    """
    uris = {*facts.get("peer_spiffe_id", ()), *facts.get("peer_uri", ())}
    names = uris or set(facts.get("peer_dns", ()))
    if len(names) != 1:
        raise UnauthenticatedError(
            "the certificate must name exactly one URI, best a SPIFFE id, or exactly one DNS name, as its subject "
            f"alternative name; it has {len(uris)} URIs and {len(set(facts.get('peer_dns', ())))} DNS names"
        )
    return names.pop().decode()


def fingerprint(facts: Mapping[str, Iterable[bytes]]) -> str:
    """Return the SHA-256 of the connection's certificate, in lower-case hexadecimal."""
    (pem,) = facts["x509_pem_cert"]
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem.decode())).hexdigest()
