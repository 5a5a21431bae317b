"""Where a site is."""

from __future__ import annotations

from pathlib import Path

import pytest

from farspawn import AddressError, Client
from farspawn._address import Address, address_of


@pytest.mark.parametrize(
    ("environ", "uid", "target"),
    [
        ({"FARSPAWN_SITE": "unix:/a", "FARSPAWN_STATE": "/b"}, 0, "unix:/a"),
        ({"FARSPAWN_SITE": "", "FARSPAWN_STATE": "/b"}, 0, "unix:/b/farspawnd.sock"),
        ({"XDG_RUNTIME_DIR": "/run/user/0"}, 0, "unix:/run/farspawn/farspawnd.sock"),
        ({"XDG_RUNTIME_DIR": "/run/user/7"}, 7, "unix:/run/user/7/farspawn/farspawnd.sock"),
        ({}, 7, "unix:/tmp/farspawn-7/farspawnd.sock"),
    ],
)
def test_without_an_address_the_environment_decides(environ: dict[str, str], uid: int, target: str) -> None:
    assert address_of(None, environ, uid) == Address(target, is_local=True)


def test_an_address_given_comes_before_the_environment() -> None:
    assert address_of("localhost:80", {"FARSPAWN_SITE": "unix:/a"}, 0).target == "localhost:80"


@pytest.mark.parametrize(
    ("path", "uri"),
    [
        ("/a%2Fb/s", "unix:/a%252Fb/s"),
        ("/a#b/s", "unix:/a%23b/s"),
        ("/a?b/s", "unix:/a%3Fb/s"),
        ("/a b/s", "unix:/a%20b/s"),
        ("/\udcff/s", "unix:/%FF/s"),
        ("relative/s", "unix:relative/s"),
        ("/no,where/s", "unix:/no%2Cwhere/s"),
    ],
)
def test_a_path_means_itself_to_grpc_too(path: str, uri: str) -> None:
    assert address_of(f"unix:{path}", {}, 0).uri == uri


def test_a_socket_below_a_comma_is_reached_by_another_name(tmp_path: Path) -> None:
    directory = tmp_path / "a,b"
    directory.mkdir()

    uri = address_of(f"unix:{directory}/s", {}, 0).uri

    assert Path(uri.removeprefix("unix:")).parent.samefile(directory)
    assert "," not in uri


def test_a_socket_with_a_comma_in_its_own_name_is_refused_by_name() -> None:
    with pytest.raises(AddressError, match="a,b"):
        _ = address_of("unix:/tmp/a,b", {}, 0).uri


@pytest.mark.parametrize("text", ["127.0.0.1:1", "127.8.8.8:1", "[::1]:1", "localhost:1", "LOCALHOST:1", "unix:a"])
def test_what_stays_on_this_machine_is_local(text: str) -> None:
    assert address_of(text, {}, 0) == Address(text, is_local=True)


@pytest.mark.parametrize("text", ["example.org:1", "10.0.0.1:1", "[2001:db8::1]:1", "localhost.example.org:1"])
def test_what_leaves_this_machine_is_not(text: str) -> None:
    assert address_of(text, {}, 0) == Address(text, is_local=False)


@pytest.mark.parametrize(
    "text",
    [
        "host",
        "host:",
        ":80",
        "host:0",
        "host:65536",
        "host:http",
        "::1:80",
        "unix:",
        "unix:///",
        "https://a:1",
        "a/b:1",
    ],
)
def test_what_is_no_address_is_refused_by_its_name(text: str) -> None:
    with pytest.raises(AddressError, match=r"host:port") as refusal:
        address_of(text, {}, 0)

    assert text in str(refusal.value)


def test_a_site_elsewhere_is_not_talked_to_in_the_clear() -> None:
    with pytest.raises(AddressError, match="credentials"):
        Client("example.org:1")
