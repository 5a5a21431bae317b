"""A site that is reached by mutual TLS, and callers with certificates of its authority."""

from __future__ import annotations

import datetime as dt
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

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

    def configure(
        self,
        *,
        denied: Sequence[str] = (),
        policy: str = '[policy]\nallow = "any"\n',
        sees: Mapping[str, str | Sequence[str]] = {},  # never changed
    ) -> None:
        """Write the settings; `policy`: more tables; `sees`: of the grants with these identities."""
        grants = "".join(
            f'[[grants]]\nidentity = "{identity}"\nrole = "{role}"\nsees = {sees.get(identity, "")!r}\n'
            for identity, role in GRANTS
        )
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


def signed(
    site: TlsSite, *names: x509.GeneralName, lifetime: dt.timedelta = dt.timedelta(days=1)
) -> grpc.ChannelCredentials:
    """Return what somebody connects with whom the authority has given a client's certificate with these names.

    Its common name is Alice's, which means nothing.
    """
    authority = x509.load_pem_x509_certificate((site.pki / "ca.pem").read_bytes())
    signer = serialization.load_pem_private_key((site.pki / "ca.key").read_bytes(), password=None)
    assert isinstance(signer, ec.EllipticCurvePrivateKey)
    key = ec.generate_private_key(ec.SECP256R1())
    now = dt.datetime.now(dt.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, ALICE)]))
        .issuer_name(authority.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(minutes=5))
        .not_valid_after(now + lifetime)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return grpc.ssl_channel_credentials(
        (site.pki / "ca.pem").read_bytes(),
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
        builder.sign(signer, hashes.SHA256()).public_bytes(serialization.Encoding.PEM),
    )


def of_another_authority(site: TlsSite, directory: Path, identity: str) -> grpc.ChannelCredentials:
    """Return what somebody connects with whose certificate a new authority, `directory`/ca.pem, has signed."""
    pki.make_authority(directory, name="another")
    pki.issue_client(directory, "somebody", identity=identity)
    key, chain = ((directory / f"somebody.{kind}").read_bytes() for kind in ("key", "pem"))
    return grpc.ssl_channel_credentials((site.pki / "ca.pem").read_bytes(), key, chain)
