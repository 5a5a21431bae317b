"""A site that is reached by mutual TLS, and callers with certificates of its authority."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import grpc

from farspawn import _pki as pki
from farspawn.v1.launcher_pb2_grpc import TaskLauncherStub
from support.agent import Agent, short_directory

ADMIN = "spiffe://example.org/admin"
ALICE = "spiffe://example.org/server/alice"
BOB = "spiffe://example.org/server/bob"
VIEWER = "spiffe://example.org/viewer"
NOBODY = "spiffe://example.org/nobody"
PEOPLE = {"admin": ADMIN, "alice": ALICE, "bob": BOB, "viewer": VIEWER, "nobody": NOBODY}
GRANTS = ((ADMIN, "admin"), ("spiffe://example.org/server/*", "operator"), (VIEWER, "viewer"))


class TlsSite(Agent):
    """An agent on a loopback port, with `directory`/pki and `directory`/site.toml."""

    def __init__(self, directory: Path, port: int) -> None:
        self.pki = directory / "pki"
        self.config = directory / "site.toml"
        self._authority = (self.pki / "ca.pem").read_bytes()
        self.configure()
        address = f"127.0.0.1:{port}"
        super().__init__(directory, "--config", str(self.config), listen=address, credentials=self.credentials("admin"))

    def configure(self, *, denied: Sequence[str] = (), policy: str = '[policy]\nallow = "any"\n') -> None:
        """Write the settings; `policy`: more tables."""
        grants = "".join(f'[[grants]]\nidentity = "{identity}"\nrole = "{role}"\n' for identity, role in GRANTS)
        files = {"certificate": "site.pem", "key": "site.key", "authorities": "ca.pem"}
        tls = "".join(f'{key} = "{self.pki / name}"\n' for key, name in files.items())
        self.config.write_text(f"denied = {list(denied)!r}\n[tls]\n{tls}{grants}{policy}")

    def credentials(self, name: str) -> grpc.ChannelCredentials:
        """Return what a caller with a certificate of this name connects with."""
        key, chain = ((self.pki / f"{name}.{kind}").read_bytes() for kind in ("key", "pem"))
        return grpc.ssl_channel_credentials(self._authority, key, chain)

    @contextmanager
    def caller(self, credentials: grpc.ChannelCredentials | str) -> Iterator[TaskLauncherStub]:
        """Connect as somebody else."""
        if isinstance(credentials, str):
            credentials = self.credentials(credentials)
        with grpc.secure_channel(self.address, credentials) as channel:
            yield TaskLauncherStub(channel)


@contextmanager
def tls_site() -> Iterator[TlsSite]:
    """Make an authority, certificates for everybody, and a site that trusts it."""
    with short_directory() as directory:
        pki.make_authority(directory / "pki", name="test")
        pki.issue_site(directory / "pki", "site", hosts=["127.0.0.1", "localhost"])
        for name, identity in PEOPLE.items():
            pki.issue_client(directory / "pki", name, identity=identity)
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port: int = probe.getsockname()[1]
        with TlsSite(directory, port) as site:
            yield site
            site.check_log()
