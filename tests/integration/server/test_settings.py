"""farspawnd's settings: what they come to, and where a mistake is."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest
from support.command import farspawnd_says

from farspawn_server.keeper.guard import BAD_CONFIGURATION
from farspawn_server.settings import SettingsError, load


def site_toml(directory: Path, text: str) -> str:
    path = directory / "site.toml"
    path.write_text(text)
    return str(path)


def test_check_config_says_what_the_settings_come_to_and_starts_nothing(tmp_path: Path) -> None:
    config = site_toml(tmp_path, f'name = "ward-7"\nstate = "{tmp_path}/state"\n[limits]\nmax_live_tasks = 3\n')

    said = farspawnd_says("--config", config, "--check-config")

    settings = json.loads(said.stdout)
    assert said.code == 0
    assert settings["name"] == "ward-7"
    assert settings["listen"] == [f"unix:{tmp_path}/state/farspawnd.sock"]
    assert settings["limits"]["max_live_tasks"] == 3
    assert not (tmp_path / "state").exists()


def test_a_flag_wins_over_the_environment_and_both_over_the_file(tmp_path: Path) -> None:
    config = site_toml(tmp_path, f'name = "file"\nstate = "{tmp_path}/file"\nlisten = "unix:{tmp_path}/file.sock"\n')
    environment = {"FARSPAWND_NAME": "environment", "FARSPAWND_LISTEN": f"unix:{tmp_path}/environment.sock"}

    said = farspawnd_says("--config", config, "--name", "flag", "--check-config", **environment)

    settings = json.loads(said.stdout)
    assert settings["name"] == "flag"
    assert settings["listen"] == [f"unix:{tmp_path}/environment.sock"]
    assert settings["state"] == f"{tmp_path}/file"


def test_without_settings_the_site_is_named_after_its_host() -> None:
    settings = json.loads(farspawnd_says("--check-config").stdout)

    assert settings["name"] == socket.gethostname()
    assert len(settings["listen"]) == 1
    assert settings["listen"][0].startswith("unix:/")


@pytest.mark.parametrize("listen", ["'127.0.0.1:1'", "['127.0.0.1:1']"])
def test_the_owners_socket_is_there_beside_tcp(tmp_path: Path, listen: str) -> None:
    config = site_toml(tmp_path, f"state = '{tmp_path}/state'\nlisten = {listen}\ninsecure = true\n")

    settings = json.loads(farspawnd_says("--config", config, "--check-config").stdout)

    assert settings["listen"] == [f"unix:{tmp_path}/state/farspawnd.sock", "127.0.0.1:1"]


def test_listen_may_be_given_several_times_and_a_socket_in_the_list_takes_the_default_ones_place(
    tmp_path: Path,
) -> None:
    addresses = [f"unix:{tmp_path}/a.sock", "127.0.0.1:1", "[::1]:1"]
    flags = [word for address in addresses for word in ("--listen", address)]

    by_flags = json.loads(farspawnd_says(*flags, "--insecure", "--check-config").stdout)
    by_environment = json.loads(
        farspawnd_says("--insecure", "--check-config", FARSPAWND_LISTEN=" ".join(addresses)).stdout
    )

    assert by_flags["listen"] == addresses
    assert by_environment["listen"] == addresses


def test_an_address_that_is_listed_twice_is_refused() -> None:
    said = farspawnd_says("--listen", "127.0.0.1:1", "--listen", "127.0.0.1:1", "--insecure", "--check-config")

    assert said.code != 0
    assert "listed twice" in said.stderr


def test_a_user_without_name_and_home_is_asked_for_a_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr("os.getuid", lambda: 64_777)
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", no_home)

    with pytest.raises(SettingsError, match="FARSPAWN_STATE"):
        load("", {})


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("\n\nnaem = 'x'\n", 3, ["naem", "unknown field"]),
        ("name = 7\n", 1, ["name", "`str`", "`int`"]),
        ("[limits]\nmax_ended_tasks = 1\nmax_live_tasks = 'many'\n", 3, ["limits.max_live_tasks", "`int`"]),
        ("name = 'x'\nlimits.max_live_task = 3\n", 2, ["limits.max_live_task", "unknown field"]),
        ("\n[limit]\nmax_live_tasks = 3\n", 2, ["limit", "unknown field"]),
        ("insecure = 'yes'\n", 1, ["insecure", "`bool`"]),
    ],
)
def test_a_mistake_names_file_line_and_key(tmp_path: Path, text: str, line: int, words: list[str]) -> None:
    config = site_toml(tmp_path, text)

    said = farspawnd_says("--config", config, "--check-config")

    assert said.code != 0
    assert f"{config}:{line} " in said.stderr
    assert [word for word in words if word not in said.stderr] == []
    assert "Traceback" not in said.stderr


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name = \n", ["line 1"]),
        ("[limits]\nmax_live_tasks = 0\n", ["limits.max_live_tasks", "above 0"]),
        ("state = 'relative'\n", ["state", "relative", "absolute"]),
        ("listen = 'nonsense'\n", ["listen", "nonsense", "host:port"]),
        ("listen = 'unix:" + "/x" * 60 + "'\n", ["listen", "107 bytes"]),
    ],
)
def test_a_value_that_cannot_be_used_is_named(tmp_path: Path, text: str, words: list[str]) -> None:
    said = farspawnd_says("--config", site_toml(tmp_path, text), "--check-config")

    assert said.code != 0
    assert [word for word in words if word not in said.stderr] == []
    assert "Traceback" not in said.stderr


def test_all_mistakes_are_told_at_once_each_with_its_line_and_what_would_be_right(tmp_path: Path) -> None:
    config = site_toml(
        tmp_path,
        """naem = "x"
listen = ["nonsense"]
[[grants]]
identity = "a"
role = "viewer"
[[grants]]
identity = "b"
role = "king"
[policy]
user = "no-such-user"
[limits]
max_live_tasks = 0
max_connections = "many"
[ceilings]
niceness = 99
[templates.one]
argv = ["/bin/true", "{n}"]
[templates.one.parameters.n]
minimum = 5
maximum = 3
[templates.two]
argv = ["/bin/true", "{c}"]
parameters.c.choices = ["a", ""]
[templates.three]
description = "nothing"
[templates.four]
argv = ["relative"]
""",
    )

    said = farspawnd_says("--config", config, "--check-config")

    assert said.code == BAD_CONFIGURATION
    told = [
        (1, "naem", "there is name"),
        (2, "listen", "host:port"),
        (8, "grants[1].role", "'king'"),
        (10, "policy.user", "no such user"),
        (12, "limits.max_live_tasks", "above 0"),
        (13, "limits.max_connections", "`int`"),
        (15, "ceilings.niceness", "0 to 19"),
        (19, "templates.one.parameters.n.minimum", "5 is above maximum 3"),
        (23, "templates.two.parameters.c.choices", "a choice has 1"),
        (24, "templates.three.argv", "is missing"),
        (27, "templates.four.argv", "absolute path"),
    ]
    lines = said.stderr.removeprefix("Error: ").splitlines()
    for line, key, what in told:
        assert any(each.startswith(f"{config}:{line} {key}: ") and what in each for each in lines), (key, said.stderr)
    assert "Traceback" not in said.stderr


def test_a_limit_that_cannot_be_kept_is_told_beside_other_mistakes(tmp_path: Path) -> None:
    config = site_toml(tmp_path, "naem = 1\n[ceilings]\nmemory_bytes = 1000\n")
    settings = json.loads(farspawnd_says("--check-config").stdout)

    with pytest.raises(SettingsError) as caught:
        load(config, {"state": settings["state"]}, controllers=())

    first, second = str(caught.value).splitlines()
    assert first.startswith(f"{config}:1 naem: ")
    assert second.startswith(f"{config}:3 ceilings.memory_bytes: this site cannot enforce it")


def test_a_config_that_is_not_there_is_named(tmp_path: Path) -> None:
    said = farspawnd_says("--config", str(tmp_path / "none.toml"), "--check-config")

    assert said.code != 0
    assert "none.toml" in said.stderr
    assert "No such file" in said.stderr


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "localhost"])
def test_insecure_tcp_is_for_loopback(host: str) -> None:
    assert farspawnd_says("--listen", f"{host}:50051", "--insecure", "--check-config").code == 0


@pytest.mark.parametrize("host", ["0.0.0.0", "[::]", "192.0.2.1", "example.com"])
def test_insecure_tcp_beyond_loopback_is_refused(host: str) -> None:
    said = farspawnd_says("--listen", f"{host}:50051", "--insecure", "--check-config")

    assert said.code != 0
    assert "loopback only" in said.stderr


def test_tcp_without_insecure_is_refused_and_says_what_to_do() -> None:
    said = farspawnd_says("--listen", "127.0.0.1:50051", "--check-config")

    assert said.code != 0
    assert "--insecure" in said.stderr


@pytest.mark.parametrize("text", ["[limits]\nmax_live_tasks = 0\n", "listen = '127.0.0.1:1'\n"])
def test_an_agent_with_settings_that_cannot_be_used_does_not_start(tmp_path: Path, text: str) -> None:
    said = farspawnd_says("--state", str(tmp_path / "state"), "--config", site_toml(tmp_path, text))

    assert said.code != 0
    assert not (tmp_path / "state").exists()
