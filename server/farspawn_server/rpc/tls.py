"""The site's certificates: read from files that are watched, handed to gRPC ready-made.

A handshake asks a callback for certificates, on one of gRPC's own threads: it only returns what was prepared here. New
files that cannot be used change nothing, and that is said.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from pathlib import Path

import grpc

log = logging.getLogger(__name__)

_LOOK_EVERY_SECONDS = 2.0


class CertificateError(Exception):
    """The files cannot be used; the text says which and why."""


class Certificates:
    """A certificate, its key, and the authorities whose certificates callers must have."""

    def __init__(self, certificate: Path, key: Path, authorities: Path) -> None:
        """Read the files.

        Raises:
            CertificateError: they cannot be used.
        """
        self._certificate, self._key, self._authorities = certificate, key, authorities
        self._seen = self._marks()
        self._prepared = self._read()

    def credentials(self) -> grpc.ServerCredentials:
        """Return what gRPC listens with: both sides must have a certificate."""
        return grpc.dynamic_ssl_server_credentials(
            self._prepared, lambda: self._prepared, require_client_authentication=True
        )

    async def watch(self) -> None:
        """Take new files as they come, for ever."""
        while True:
            await asyncio.sleep(_LOOK_EVERY_SECONDS)
            marks = await asyncio.to_thread(self._marks)
            if marks != self._seen:
                self._seen = marks
                await asyncio.to_thread(self.renew)

    def renew(self) -> None:
        """Read the files again; keep what there was if they cannot be used."""
        try:
            self._prepared = self._read()
        except CertificateError as error:
            log.warning("new certificates cannot be used, the old ones stay", extra={"error": str(error)})
        else:
            log.info("certificates renewed", extra={"certificate": str(self._certificate)})

    def _marks(self) -> tuple[tuple[int, int] | None, ...]:
        return tuple(_mark(path) for path in (self._certificate, self._key, self._authorities))

    def _read(self) -> grpc.ServerCertificateConfiguration:
        try:
            chain, key, authorities = (path.read_bytes() for path in (self._certificate, self._key, self._authorities))
            # gRPC would say nothing of a key that does not fit, and fail every handshake.
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.load_cert_chain(self._certificate, self._key)
            context.load_verify_locations(self._authorities)
        except OSError as error:  # ssl.SSLError is one
            files = f"{self._certificate}, {self._key}, {self._authorities}"
            raise CertificateError(f"tls: {error} (of {files})") from error
        return grpc.ssl_server_certificate_configuration([(key, chain)], root_certificates=authorities)


def _mark(path: Path) -> tuple[int, int] | None:
    """Return what changes when a file is replaced; None: it is not there."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns
