"""Who is calling? Read from the connection, never from the message; then asked of the site's policy.

The identity is that of the client's certificate: exactly one SPIFFE id or other URI among its subject alternative
names, else exactly one DNS name, else nobody. The common name means nothing. The Unix socket has no certificates:
there, and where the site's owner said --insecure, everybody is the owner, for nobody else gets that far.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, TypeVar

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from google.protobuf.message import Message

from farspawn_server.audit import Record
from farspawn_server.policy import LOCAL, Caller, Roster, authorise
from farspawn_server.rpc.denials import of_refusal
from farspawn_server.task.errors import PolicyDeniedError, UnauthenticatedError

_Context = grpc.aio.ServicerContext[Any, Any]
_T = TypeVar("_T")


class Gate:
    """Lets callers in. Used from one event loop."""

    def __init__(self, roster: Roster | None, record: Callable[[Record], None]) -> None:
        """Let those in whom the roster names, until `renew`; put on record what is refused.

        Args:
            roster: of those who come over TCP; None: there are no certificates there, and everybody is the owner.
            record: takes what goes into the audit.
        """
        self._roster = roster
        self._record = record
        self._renewed = asyncio.Event()

    def renew(self, roster: Roster | None) -> None:
        """Let others in from now on; streams of those who are let in no more end. Certificates come only at start."""
        if self._roster is None or roster is None:
            return
        self._roster = roster
        self._renewed.set()
        self._renewed = asyncio.Event()

    def refused(self, context: _Context, method: str, request: Message | None, error: Exception) -> None:
        """Put a call that ended in an error on record, if it is one that belongs there.

        Args:
            context: of the call.
            method: of the contract.
            request: its message; None: it had not come, or there are many.
            error: a refusal, or an error of ours.
        """
        record = of_refusal(method, self._presented(context), context.peer(), request, error)
        if record is not None:
            self._record(record)

    def _presented(self, context: _Context) -> str:
        """Return who says to be calling, let in or not."""
        if self._roster_for(context) is None:
            return LOCAL.identity
        facts = context.auth_context()
        try:
            return identity(facts)
        except (UnauthenticatedError, UnicodeDecodeError):
            names = {name for kind in ("peer_uri", "peer_dns") for name in facts.get(kind, ())}
            return " ".join(sorted(name.decode(errors="replace") for name in names))

    def _roster_for(self, context: _Context) -> Roster | None:
        """Return who is let in the way that this call came; None: there are no certificates, it is the owner."""
        return None if context.peer().startswith(LOCAL.peer) else self._roster

    def admit(self, context: _Context, method: str | None) -> Caller:
        """Return the caller of a method of the contract; None: of another, which takes any role.

        Raises:
            UnauthenticatedError: there is no identity to be had from the connection.
            PolicyDeniedError: the site's owner does not allow it.
        """
        peer = context.peer()
        roster = self._roster_for(context)
        if roster is None:
            return LOCAL if peer == LOCAL.peer else replace(LOCAL, peer=peer)
        facts = context.auth_context()
        certificate = _certificate(facts)
        if _seconds_left(certificate) <= 0:  # TLS looks at it once, and a connection can last
            raise UnauthenticatedError(f"the certificate has expired: it was good until {certificate.good_until}")
        caller = replace(roster.admit(identity(facts), certificate.fingerprint), peer=peer)
        if method is not None:
            authorise(caller, method)
        return caller

    async def answer_while_admitted(self, context: _Context, method: str, answer: Awaitable[_T]) -> _T:
        """Return an answer that may take its time, as long as its caller may have it.

        Raises:
            PolicyDeniedError: the site's owner allows it no more.
            UnauthenticatedError: their certificate has expired.
        """

        async def alone() -> AsyncIterator[_T]:
            yield await answer

        async with aclosing(self.while_admitted(context, method, alone())) as admitted:
            return await anext(admitted)

    async def while_admitted(
        self, context: _Context, method: str | None, answers: AsyncIterator[_T]
    ) -> AsyncGenerator[_T, None]:
        """Yield the answers of a stream, as long as its caller may have them.

        Raises:
            PolicyDeniedError: the site's owner allows it no more.
            UnauthenticatedError: their certificate has expired.
        """
        if self._roster_for(context) is None:
            async for answer in answers:  # the owner's own: nothing can change for it
                yield answer
            return
        caller = self.admit(context, method)
        coming: asyncio.Future[_T] | None = None
        renewal = asyncio.ensure_future(self._renewed.wait())
        try:
            while True:
                coming = coming or asyncio.ensure_future(anext(answers))
                either: set[asyncio.Future[Any]] = {coming, renewal}
                left = _seconds_left(_certificate(context.auth_context()))
                done, _ = await asyncio.wait(either, timeout=left, return_when=asyncio.FIRST_COMPLETED)
                if renewal.done() or not done:
                    now = self.admit(context, method)
                    if now.role < caller.role or now.others != caller.others:
                        raise PolicyDeniedError("what you may do or see here has changed: call again", rule="grants")
                if renewal.done():
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


@dataclass(frozen=True, slots=True)
class _Certificate:
    """What matters of a certificate: the SHA-256 of its DER, in lower-case hexadecimal, and its end."""

    fingerprint: str
    good_until: datetime


@functools.lru_cache(maxsize=1024)
def _read(pem: bytes) -> _Certificate:
    certificate = x509.load_pem_x509_certificate(pem)
    return _Certificate(certificate.fingerprint(hashes.SHA256()).hex(), certificate.not_valid_after_utc)


def _certificate(facts: Mapping[str, Iterable[bytes]]) -> _Certificate:
    """Return the connection's certificate."""
    (pem,) = facts["x509_pem_cert"]
    return _read(pem)


def _seconds_left(certificate: _Certificate) -> float:
    return (certificate.good_until - datetime.now(UTC)).total_seconds()
