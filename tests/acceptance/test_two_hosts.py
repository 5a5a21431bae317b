"""From nothing to a task over mutual TLS between two hosts, with the four commands of the README as they stand there.

The hosts are network namespaces that the test makes and removes. The files are copied by sharing a directory.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.agent import plain_environment, short_directory
from support.waiting import PATIENCE, until

README = Path(__file__).parents[2] / "README.md"
NEEDED = shutil.which("ip")

pytestmark = pytest.mark.skipif(
    NEEDED is None or os.geteuid() != 0, reason="needs root and ip (iproute2) to make two network namespaces"
)


@dataclass(frozen=True, slots=True)
class Host:
    """A network namespace with one address."""

    name: str
    address: str

    def words(self, command: str) -> list[str]:
        """Return how to run a command of ours there."""
        program, *arguments = shlex.split(command)
        module = {"farspawn": "farspawn", "farspawnd": "farspawn_server"}[program]
        return ["ip", "netns", "exec", self.name, sys.executable, "-P", "-m", module, *arguments]


def ip(words: str) -> None:
    subprocess.run(["ip", *words.split()], check=True, timeout=PATIENCE)


@pytest.fixture
def hosts() -> Iterator[tuple[Host, Host]]:
    one, other = (Host(f"fs{os.getpid()}{letter}", f"10.77.0.{number}") for number, letter in ((1, "a"), (2, "b")))
    made: list[Host] = []
    try:
        for host in (one, other):
            ip(f"netns add {host.name}")
            made.append(host)
        ip(f"link add {one.name} netns {one.name} type veth peer name {other.name} netns {other.name}")
        for host in (one, other):
            ip(f"-n {host.name} address add {host.address}/24 dev {host.name}")
            ip(f"-n {host.name} link set {host.name} up")
        yield one, other
    finally:
        for host in made:
            ip(f"netns del {host.name}")


def commands() -> list[str]:
    """Return the commands of the README."""
    (block,) = re.findall(r"in four commands[^`]*```sh\n(.*?)```", README.read_text(), re.DOTALL)
    return [line.partition(" #")[0].strip() for line in block.splitlines()]


def test_the_readmes_four_commands_lead_to_a_task_on_another_host(hosts: tuple[Host, Host]) -> None:
    hospital, server = hosts
    issue_site, issue_client, serve, run = (each.replace("hospital.example", hospital.address) for each in commands())
    with short_directory() as directory:
        environment = plain_environment() | {"FARSPAWN_STATE": str(directory / "state")}

        def done(host: Host, command: str) -> subprocess.CompletedProcess[str]:
            return subprocess.run(
                host.words(command),
                cwd=directory,
                env=environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=PATIENCE,
                check=False,
            )

        assert done(hospital, issue_site).returncode == 0
        assert done(hospital, issue_client).returncode == 0
        with open(directory / "log", "w+", encoding="utf-8") as log:
            agent = subprocess.Popen(
                hospital.words(serve), cwd=directory, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
            try:
                until(lambda: "recovered" in (directory / "log").read_text() or agent.poll() is not None)
                hello = done(server, run)
                shell = done(server, run.replace("run --template hello", "run -- sh -c id"))
                stranger = done(server, run.replace("server.pem", "hospital.pem").replace("server.key", "hospital.key"))
            finally:
                agent.send_signal(signal.SIGTERM)
                agent.wait(PATIENCE)
                print((directory / "log").read_text())

    assert (hello.returncode, hello.stdout, hello.stderr) == (0, "hello, world\n", "")
    assert shell.returncode != 0
    assert "templates" in shell.stderr
    assert stranger.returncode != 0
    assert agent.returncode == 0
