"""Certificates for people with no PKI of their own: one authority, and what it signs, as PEM files in a directory.

    DIRECTORY/ca.pem, ca.key        the authority; the key need not be where sites or callers are
    DIRECTORY/NAME.pem, NAME.key    a site or a caller

Who has its own PKI needs none of this: any certificate with exactly one URI or DNS name as its subject alternative
name will do. Keys are P-256, mode 0600, without a passphrase; nothing here revokes: deny the fingerprint at the sites.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from farspawn._pki_error import PkiError as PkiError  # ours, for whoever uses this

AUTHORITY = "ca"
AUTHORITY_DAYS = 3650
DEFAULT_DAYS = 90
_SKEW = dt.timedelta(minutes=5)  # clocks of two machines differ
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True, slots=True)
class Certificate:
    """What a certificate says. `fingerprint` is its SHA-256, in lower-case hexadecimal, as `denied` takes it."""

    path: str
    names: Sequence[str]
    not_before: dt.datetime
    not_after: dt.datetime
    fingerprint: str


def make_authority(directory: Path, *, name: str) -> Certificate:
    """Make a new authority in a directory that has none.

    Raises:
        PkiError: there is one, or the files cannot be written.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = (
        _begun(subject, subject, key.public_key(), AUTHORITY_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(key_cert_sign=True), critical=True)
    )
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    return _write(directory, AUTHORITY, builder.sign(key, hashes.SHA256()), key, replace=False)


def has_authority(directory: Path) -> bool:
    """Whether there is an authority, or something in its place."""
    return any((directory / f"{AUTHORITY}.{kind}").exists() for kind in ("pem", "key"))


def issue_site(directory: Path, name: str, *, hosts: Sequence[str], days: int = DEFAULT_DAYS) -> Certificate:
    """Issue a certificate for a site, which its callers reach under one of these host names or addresses.

    Raises:
        PkiError: the name or a host is not legal, the name is taken, or there is no authority.
    """
    if not hosts:
        raise PkiError("a site's certificate needs at least one host name or address that its callers use")
    return _issue(directory, name, [_host(host) for host in hosts], days, ExtendedKeyUsageOID.SERVER_AUTH)


def issue_client(directory: Path, name: str, *, identity: str, days: int = DEFAULT_DAYS) -> Certificate:
    """Issue a certificate for a caller, whom sites know as `identity`: a URI, best a SPIFFE id.

    Raises:
        PkiError: the name or the identity is not legal, the name is taken, or there is no authority.
    """
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s/]+(/[!-~]*)?", identity):
        raise PkiError(f"{identity!r} is no identity: give a URI such as spiffe://example.org/orchestrator")
    names = [x509.UniformResourceIdentifier(identity)]
    return _issue(directory, name, names, days, ExtendedKeyUsageOID.CLIENT_AUTH)


def renew(directory: Path, name: str, *, days: int = DEFAULT_DAYS) -> Certificate:
    """Issue a certificate anew, with a new key and the same names. A site that watches its files takes it by itself.

    Raises:
        PkiError: there is no such certificate, or no authority.
    """
    old = _load(directory / f"{name}.pem")
    names = list(old.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    usage = next(iter(old.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value))
    return _issue(directory, name, names, days, usage, replace=True)


def show(path: Path) -> Certificate:
    """Read a certificate.

    Raises:
        PkiError: it is none.
    """
    return _described(path, _load(path))


def _issue(
    directory: Path,
    name: str,
    names: Sequence[x509.GeneralName],
    days: int,
    usage: x509.ObjectIdentifier,
    *,
    replace: bool = False,
) -> Certificate:
    if not _NAME.fullmatch(name) or name == AUTHORITY:
        raise PkiError(f"{name!r} is no name for files: 1 to 64 characters of A-Z a-z 0-9 . _ -, and not {AUTHORITY!r}")
    if not 1 <= days <= AUTHORITY_DAYS:
        raise PkiError(f"{days} days: give 1 to {AUTHORITY_DAYS}")
    authority = _load(directory / f"{AUTHORITY}.pem")
    authority_key = _load_key(directory / f"{AUTHORITY}.key")
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    signer = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key())
    builder = (
        _begun(subject, authority.subject, key.public_key(), days)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(digital_signature=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        .add_extension(signer, critical=False)
    )
    return _write(directory, name, builder.sign(authority_key, hashes.SHA256()), key, replace=replace)


def _begun(
    subject: x509.Name, issuer: x509.Name, public: ec.EllipticCurvePublicKey, days: int
) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SKEW)
        .not_valid_after(now + dt.timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    )


def _usage(*, digital_signature: bool = False, key_cert_sign: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        key_cert_sign=key_cert_sign,
        crl_sign=key_cert_sign,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        pass  # then it is a name
    if not re.fullmatch(r"(?!-)[A-Za-z0-9-]{1,63}(\.[A-Za-z0-9-]{1,63})*", host):
        raise PkiError(f"{host!r} is neither a host name nor an address")
    return x509.DNSName(host)


def _write(
    directory: Path, name: str, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey, *, replace: bool
) -> Certificate:
    path, key_path = directory / f"{name}.pem", directory / f"{name}.key"
    if not replace and (path.exists() or key_path.exists()):
        raise PkiError(f"{path} is there already: choose another name, or renew it")
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    try:
        # The key first: whoever sees the new certificate finds the key that fits.
        _put(key_path, pem, 0o600)
        _put(path, certificate.public_bytes(serialization.Encoding.PEM), 0o644)
    except OSError as error:
        raise PkiError(str(error)) from error
    return _described(path, certificate)


def _put(path: Path, data: bytes, mode: int) -> None:
    """Write a file as a whole or not at all; nobody sees it with another mode, not for a moment."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)


def _load(path: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except FileNotFoundError:
        hint = ": make one with `farspawn pki init`" if path.stem == AUTHORITY else ""
        raise PkiError(f"{path} is not there{hint}") from None
    except (OSError, ValueError) as error:
        raise PkiError(f"{path}: {error}") from error


def _load_key(path: Path) -> ec.EllipticCurvePrivateKey:
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except (OSError, ValueError, TypeError) as error:
        raise PkiError(f"{path}: {error}") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise PkiError(f"{path} is not a key that this made")
    return key


def _described(path: Path, certificate: x509.Certificate) -> Certificate:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        names = x509.SubjectAlternativeName([])
    return Certificate(
        path=str(path),
        names=[str(name.value) for name in names],
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
        fingerprint=certificate.fingerprint(hashes.SHA256()).hex(),
    )
