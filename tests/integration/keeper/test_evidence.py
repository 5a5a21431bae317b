"""Was a run ever started? The run file tells any keeper: never two starts, and nothing is called lost that is not."""

from __future__ import annotations

import fcntl
import os
import signal
from pathlib import Path

import pytest
from support.keeper import ServedKeeper
from support.waiting import until

from farspawn_server.keeper.messages import Kill

UID = "task/1"
RUN_FILE = "logs/task.1"
APPENDS = ["sh", "-c", "echo started >> starts; sleep 600"]


def starts(directory: Path) -> int:
    counted = directory / "starts"
    return counted.read_text().count("\n") if counted.exists() else 0


def spawn(keeper: ServedKeeper) -> None:
    keeper.spawn(UID, APPENDS, cwd=str(keeper.directory))


@pytest.mark.parametrize("place", ["ordered", "evidence", "started", "told"])
def test_a_keeper_killed_in_a_start_leads_to_one_start(directory: Path, place: str) -> None:
    armed = {"FARSPAWN_FAILPOINT": f"keeper.spawn.{place}:self:{directory}/flag"}
    killed = ServedKeeper(directory, environment=armed)
    spawn(killed)
    killed.died()

    with ServedKeeper(directory) as keeper:
        spawn(keeper)
        held = keeper.until_started(UID)
        until(lambda: starts(directory))
        assert not held.lost
        assert held.pid
        keeper.order(Kill(UID))
        keeper.until_over(UID)

    assert starts(directory) == 1


@pytest.mark.parametrize("place", ["exit.heard", "exit.told", "shim.dialled", "kill.ordered"])
def test_a_keeper_killed_at_an_end_loses_no_end(directory: Path, place: str) -> None:
    armed = {"FARSPAWN_FAILPOINT": f"keeper.{place}:self:{directory}/flag"}
    killed = ServedKeeper(directory, environment=armed)
    if place == "shim.dialled":
        killed.spawn(UID, ["sh", "-c", "exit 5"])
        killed.until_over(UID)
        os.kill(killed.pid, signal.SIGUSR1)
        killed.let_go()
    elif place == "kill.ordered":
        killed.spawn(UID, ["sleep", "600"])
        killed.until_started(UID)
        killed.order(Kill(UID))
    else:
        killed.spawn(UID, ["sh", "-c", "exit 5"])
    killed.died()

    with ServedKeeper(directory) as keeper:
        keeper.spawn(UID, ["sh", "-c", "echo never"])
        if place == "kill.ordered":
            keeper.until_started(UID)
            keeper.order(Kill(UID))
        ended = keeper.until_over(UID).ended

    assert ended is not None
    assert ended.signal == signal.SIGKILL if place == "kill.ordered" else ended.code == 5


def test_a_run_file_that_no_shim_ever_held_stands_for_no_start(directory: Path) -> None:
    (directory / "logs").mkdir()
    (directory / RUN_FILE).touch()

    with ServedKeeper(directory) as keeper:
        spawn(keeper)
        held = keeper.until_started(UID)

    assert held.pid
    assert not held.lost


def test_a_run_whose_shim_is_dead_is_lost_and_not_started_again(directory: Path) -> None:
    (directory / "logs").mkdir()
    (directory / RUN_FILE).write_bytes(bytes(24))

    with ServedKeeper(directory) as keeper:
        spawn(keeper)
        over = keeper.until_over(UID)

    assert (over.lost, over.pid, over.alive) == (True, 0, False)
    assert starts(directory) == 0


def test_a_run_whose_shim_lives_is_waited_for(directory: Path) -> None:
    """Who holds the file here is not even a shim: as long as it does, the keeper says nothing and starts nothing."""
    (directory / "logs").mkdir()
    with (directory / RUN_FILE).open("wb") as file, ServedKeeper(directory) as keeper:
        fcntl.lockf(file, fcntl.LOCK_EX)
        spawn(keeper)
        keeper.spawn("other/1", ["true"])
        keeper.until_over("other/1")
        assert UID not in keeper.told

        file.truncate(24)
        fcntl.lockf(file, fcntl.LOCK_UN)

        assert keeper.until_over(UID).lost
    assert starts(directory) == 0
