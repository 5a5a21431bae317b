"""An agent starts, or says why not, whatever it is started with: streams, locale, a disk without room."""

from __future__ import annotations

import subprocess

import pytest
from support.agent import Agent, farspawnd, plain_environment, short_directory, until_ended
from support.command import farspawnd_says
from support.disks import small_disk
from support.tasks import launch, output, shell
from support.waiting import PATIENCE, until

from farspawn.v1 import task_pb2

# A locale that is not UTF-8 and is there everywhere; Python would otherwise take C for UTF-8.
NOT_UTF_8 = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


def test_what_is_not_ascii_means_the_same_in_every_locale() -> None:
    with short_directory() as directory:
        odd = directory / "\u00e9\u4e2d"
        odd.mkdir(mode=0o700)
        (odd / "site.toml").write_text('name = "h\u00f4pital"\n', encoding="utf-8")
        with Agent(odd, "--config", str(odd / "site.toml"), environment=NOT_UTF_8) as agent:
            task = launch(agent.stub, ["printf", "%s", "\u00fc\u20ac"]).status
            ended = until_ended(agent.stub, task.task_id)

            assert ended.state == task_pb2.TASK_STATE_EXITED
            assert output(agent.stub, task.task_id) == "\u00fc\u20ac".encode()
            assert (odd / "state" / "farspawn.db").exists()


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_an_agent_starts_without_standard_streams_and_writes_to_no_file_in_their_place(closed: str) -> None:
    with short_directory() as directory:
        command = farspawnd("--state", str(directory / "state"))
        process = subprocess.Popen(["sh", "-c", f'exec "$@" {closed}', "sh", *command], env=plain_environment())
        try:
            until((directory / "state" / "farspawnd.sock").exists)
            said = subprocess.run(
                farspawnd("--state", str(directory / "state"), "reload"),
                env=plain_environment(),
                capture_output=True,
                text=True,
                timeout=PATIENCE,
                check=False,
            )

            assert "has renewed itself" in said.stdout
        finally:
            process.terminate()
            process.terminate()
            process.wait(PATIENCE)


def test_an_agent_that_finds_no_room_on_its_disk_says_so_and_serves_when_there_is() -> None:
    with short_directory() as directory, small_disk(directory / "state") as disk:
        with Agent(directory) as agent:
            kept = launch(agent.stub, shell("exit 3")).status.task_id
            until_ended(agent.stub, kept)
        (agent.state / "reserve").unlink()
        disk.fill()
        with Agent(directory, serving=False) as agent:
            until(lambda: f"farspawnd: {agent.state}/farspawn.db: " in agent.log or "no room" in agent.log)
            disk.empty()
            agent.until_serving()

            assert until_ended(agent.stub, kept).outcome.exit_code == 3
            until_ended(agent.stub, launch(agent.stub, ["true"]).status.task_id)


def test_an_agent_that_cannot_make_its_files_on_a_full_disk_names_them() -> None:
    with short_directory() as directory, small_disk(directory / "state") as disk:
        disk.fill()
        said = farspawnd_says("--state", str(disk.path))

        assert said.code == 1
        assert f"farspawnd: {disk.path}: " in said.stderr
        assert "Traceback" not in said.stderr
