"""Where an agent keeps its state: whatever the directory is called, and only if nobody else can change it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from support.agent import Agent, short_directory, until_ended
from support.command import farspawnd_says
from support.confined import AS_NOBODY, NOBODY, ConfinedAgent, why_not
from support.tasks import launch

from farspawn import Client
from farspawn.v1 import task_pb2
from farspawn_server.keeper.guard import BAD_CONFIGURATION

NO_OTHER_USER = why_not(AS_NOBODY)
other_user = pytest.mark.skipif(bool(NO_OTHER_USER), reason=NO_OTHER_USER)

FS_GROUP = 64_321


@pytest.mark.parametrize("name", ["feature%2Fx", "%41", "a#b", "a?b", "a,b", "a b", "a;b&c=d", "\u00e9\u4e2d"])
def test_a_directory_works_whatever_it_is_called_and_nothing_lands_elsewhere(name: str) -> None:
    with short_directory() as directory:
        odd = directory / name
        odd.mkdir(mode=0o700)
        with Agent(odd) as agent:
            with Client(agent.address) as site:
                assert site.launch(["sh", "-c", "exit 3"]).wait() == 3

            assert list(directory.iterdir()) == [odd]
            assert {path.name for path in odd.iterdir()} == {"state", "a.sock", "agent.log"}


def test_a_directory_whose_name_is_not_utf_8_is_refused_by_name_and_not_made(tmp_path: Path) -> None:
    said = farspawnd_says("--state", f"{tmp_path}/\udcff")

    assert (said.code, "Traceback" in said.stderr) == (BAD_CONFIGURATION, False)
    assert "UTF-8" in said.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("mode", [0o777, 0o770])
def test_a_state_directory_that_others_may_write_to_is_refused(tmp_path: Path, mode: int) -> None:
    state = tmp_path / "state"
    state.mkdir()
    state.chmod(mode)

    said = farspawnd_says("--state", str(state))

    assert said.code == BAD_CONFIGURATION
    assert f"{state} has mode {mode:04o}" in said.stderr
    assert not list(state.iterdir())


def test_a_configuration_that_others_may_write_is_refused(tmp_path: Path) -> None:
    config = tmp_path / "site.toml"
    config.write_text(f'state = "{tmp_path}/state"\n')
    config.chmod(0o666)

    said = farspawnd_says("--config", str(config))

    assert said.code == BAD_CONFIGURATION
    assert f"{config} has mode 0666" in said.stderr
    assert not (tmp_path / "state").exists()


def test_a_key_that_others_may_read_is_refused_with_file_and_line(tmp_path: Path) -> None:
    for name in ("site.pem", "site.key", "ca.pem"):
        (tmp_path / name).touch()
    (tmp_path / "site.key").chmod(0o644)
    config = tmp_path / "site.toml"
    files = f'certificate = "{tmp_path}/site.pem"\nkey = "{tmp_path}/site.key"\nauthorities = "{tmp_path}/ca.pem"\n'
    config.write_text(f'listen = "127.0.0.1:1"\n[tls]\n{files}')

    said = farspawnd_says("--state", f"{tmp_path}/state", "--config", str(config), "--check-config")

    assert said.code == BAD_CONFIGURATION
    assert f"{config}:4 tls.key: {tmp_path}/site.key has mode 0644: others may read it" in said.stderr


@other_user
def test_an_agent_starts_each_time_that_kubernetes_has_opened_its_volume_to_the_pods_group() -> None:
    words = [f"--groups={FS_GROUP}" if word == "--clear-groups" else word for word in AS_NOBODY]
    with short_directory() as directory:
        directory.chmod(0o755)
        volume = directory / "volume"
        (volume / "agent").mkdir(parents=True)
        os.chown(volume / "agent", NOBODY, NOBODY)
        (volume / "agent").chmod(0o700)
        for _ in range(3):
            for path in (volume, *volume.rglob("*")):  # as the kubelet does at each mount
                os.chown(path, -1, FS_GROUP, follow_symlinks=False)
                path.chmod(path.stat().st_mode | (0o2770 if path.is_dir() else 0o660))
            with ConfinedAgent(volume / "agent", words) as agent:
                ended = until_ended(agent.stub, launch(agent.stub, ["true"]).status.task_id)

                assert ended.state == task_pb2.TASK_STATE_EXITED
                assert agent.state.stat().st_mode & 0o777 == 0o700
                assert (agent.state / "keeper.key").stat().st_mode & 0o777 == 0o600


@other_user
def test_an_agent_starts_each_time_as_a_user_of_openshift_without_name_and_in_roots_group() -> None:
    words = [f"--regid={0}" if word.startswith("--regid") else word for word in AS_NOBODY]
    with short_directory() as directory:
        directory.chmod(0o755)
        volume = directory / "volume"
        volume.mkdir()
        volume.chmod(0o775)
        (volume / "agent").mkdir()
        os.chown(volume / "agent", NOBODY, 0)
        (volume / "agent").chmod(0o770)
        for _ in range(2):
            with ConfinedAgent(volume / "agent", words) as agent:
                ended = until_ended(agent.stub, launch(agent.stub, ["true"]).status.task_id)

                assert ended.state == task_pb2.TASK_STATE_EXITED
