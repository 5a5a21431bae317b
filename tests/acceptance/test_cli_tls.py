"""The command line over mutual TLS."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path

from support.agent import Agent, plain_environment, short_directory
from support.waiting import PATIENCE

from farspawn._channel import credentials_from_files


def farspawn(*words: str, environment: dict[str, str] | None = None) -> tuple[int, str, str]:
    """Run the command to its end; return exit code, output and errors."""
    done = subprocess.run(
        [sys.executable, "-P", "-m", "farspawn", *words],
        env={**plain_environment(), **(environment or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=PATIENCE,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def test_certificates_of_ones_own_lead_to_a_task_over_mutual_tls() -> None:
    with short_directory() as directory:
        pki = directory / "pki"
        in_pki = ("pki", "--directory", str(pki))
        assert farspawn(*in_pki, "init")[0] == 0
        assert farspawn(*in_pki, "site", "hospital", "--host", "127.0.0.1")[0] == 0
        assert farspawn(*in_pki, "client", "server", "--identity", "spiffe://example.org/server")[0] == 0
        config = directory / "site.toml"
        config.write_text(
            f'[tls]\ncertificate = "{pki}/hospital.pem"\nkey = "{pki}/hospital.key"\nauthorities = "{pki}/ca.pem"\n'
            '[[grants]]\nidentity = "spiffe://example.org/server"\nrole = "admin"\n'
            '[policy]\nallow = "any"\n'
        )
        with socket.create_server(("127.0.0.1", 0)) as probe:
            address = f"127.0.0.1:{probe.getsockname()[1]}"
        mine = {
            "FARSPAWN_SITE": address,
            "FARSPAWN_CERTIFICATE": f"{pki}/server.pem",
            "FARSPAWN_KEY": f"{pki}/server.key",
            "FARSPAWN_AUTHORITIES": f"{pki}/ca.pem",
        }
        credentials = credentials_from_files(f"{pki}/server.pem", f"{pki}/server.key", f"{pki}/ca.pem")
        with Agent(directory, "--config", str(config), listen=address, credentials=credentials):
            ran = farspawn("run", "--", "sh", "-c", "echo hello; exit 3", environment=mine)
            listed = farspawn("ps", "-a", "--json", environment=mine)

    assert ran == (3, "hello\n", "")
    assert '"spiffe://example.org/server"' in listed[1]


def test_half_of_what_tls_needs_is_refused_with_the_rest(tmp_path: Path) -> None:
    code, _, err = farspawn("--certificate", str(tmp_path / "x.pem"), "--site", "127.0.0.1:1", "ps")

    assert code == 2
    assert "--key" in err
    assert "--authorities" in err


def test_a_certificate_is_shown_for_programs_too(tmp_path: Path) -> None:
    in_pki = ("pki", "--directory", str(tmp_path))
    farspawn(*in_pki, "init")

    made = json.loads(farspawn(*in_pki, "client", "me", "--identity", "spiffe://example.org/me", "--json")[1])
    shown = json.loads(farspawn(*in_pki, "show", "me", "--json")[1])

    assert shown == made
    assert made["names"] == ["spiffe://example.org/me"]


def test_what_cannot_be_made_is_said_in_one_line(tmp_path: Path) -> None:
    code, out, err = farspawn("pki", "--directory", str(tmp_path), "client", "me", "--identity", "spiffe://a/b")

    assert (code, out) == (1, "")
    assert err.count("\n") == 1
    assert "farspawn pki init" in err
