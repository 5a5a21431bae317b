"""The small PKI: what it makes, and what it refuses to make."""

from __future__ import annotations

import datetime as dt
import ssl
import stat
from pathlib import Path

import pytest

from farspawn import _pki as pki


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    pki.make_authority(tmp_path / "pki", name="test")
    return tmp_path / "pki"


def test_keys_and_their_directory_are_for_their_owner_only(directory: Path) -> None:
    pki.issue_client(directory, "alice", identity="spiffe://a/alice")

    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert {stat.S_IMODE(key.stat().st_mode) for key in directory.glob("*.key")} == {0o600}


def test_certificate_and_key_fit_and_the_authority_signed_it(directory: Path) -> None:
    made = pki.issue_site(directory, "site", hosts=["site.example", "10.0.0.1", "::1"])
    context = ssl.create_default_context(cafile=directory / "ca.pem")

    context.load_cert_chain(directory / "site.pem", directory / "site.key")

    assert made.names == ["site.example", "10.0.0.1", "::1"]


def test_a_certificate_lasts_as_long_as_was_asked(directory: Path) -> None:
    made = pki.issue_client(directory, "alice", identity="spiffe://a/alice", days=7)

    left = made.not_after - dt.datetime.now(dt.UTC)
    assert dt.timedelta(days=6, hours=23) < left <= dt.timedelta(days=7)


def test_renewing_keeps_the_names_and_changes_key_and_fingerprint(directory: Path) -> None:
    old = pki.issue_client(directory, "alice", identity="spiffe://a/alice")
    old_key = (directory / "alice.key").read_bytes()

    new = pki.renew(directory, "alice")

    assert new.names == old.names
    assert new.fingerprint != old.fingerprint
    assert (directory / "alice.key").read_bytes() != old_key
    assert pki.show(directory / "alice.pem") == new


def test_nothing_is_overwritten(directory: Path) -> None:
    pki.issue_client(directory, "alice", identity="spiffe://a/alice")

    with pytest.raises(pki.PkiError, match="there already"):
        pki.issue_client(directory, "alice", identity="spiffe://a/alice")
    with pytest.raises(pki.PkiError, match="there already"):
        pki.make_authority(directory, name="again")


@pytest.mark.parametrize("name", ["", "ca", "../x", "a/b", ".hidden", "x" * 65, "a\nb"])
def test_a_name_that_is_no_file_name_is_refused(directory: Path, name: str) -> None:
    with pytest.raises(pki.PkiError, match="no name for files"):
        pki.issue_client(directory, name, identity="spiffe://a/alice")


@pytest.mark.parametrize("identity", ["", "alice", "spiffe://", "spiffe://a b/c", "spiffe://a/é"])
def test_an_identity_that_is_no_uri_is_refused(directory: Path, identity: str) -> None:
    with pytest.raises(pki.PkiError, match="no identity"):
        pki.issue_client(directory, "alice", identity=identity)


@pytest.mark.parametrize("host", ["", "-a", "a..b", "a b", "*.example"])
def test_a_host_that_is_neither_name_nor_address_is_refused(directory: Path, host: str) -> None:
    with pytest.raises(pki.PkiError, match="neither a host name nor an address"):
        pki.issue_site(directory, "site", hosts=[host])


def test_without_an_authority_it_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(pki.PkiError, match="pki init"):
        pki.issue_client(tmp_path, "alice", identity="spiffe://a/alice")
