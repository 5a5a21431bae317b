"""Was a run ever started? The run file tells any keeper: never two starts, and nothing is called lost that is not."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from support.gated import GatedShim
from support.keeper import ServedKeeper
from support.processes import state
from support.waiting import until

from farspawn_server.keeper.messages import Failure, Forget, InputTaken, Kill, Write

UID = "task/1"
RUN_FILE = "logs/task.1"
APPENDS = ["sh", "-c", "echo started >> starts; sleep 600"]


def starts(directory: Path) -> int:
    counted = directory / "starts"
    return counted.read_text().count("\n") if counted.exists() else 0


def spawn(keeper: ServedKeeper) -> None:
    keeper.spawn(UID, APPENDS, cwd=str(keeper.directory))


@pytest.mark.parametrize("place", ["ordered", "started", "told"])
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


@pytest.mark.parametrize("first", ["of the earlier keeper", "of this keeper"])
def test_of_two_shims_for_one_run_the_one_that_has_the_file_is_the_runs(directory: Path, first: str) -> None:
    """The earlier keeper dies between the start of its shim and the making of the file, so the next one sees none."""
    early, late = GatedShim(directory, "early"), GatedShim(directory, "late")
    killed = ServedKeeper(directory, environment=early.environment)
    spawn(killed)
    early.until_waiting()
    killed.kill()

    with ServedKeeper(directory, environment=late.environment) as keeper:
        spawn(keeper)
        late.until_waiting()
        order = (early, late) if first == "of the earlier keeper" else (late, early)
        order[0].let_go()
        until(lambda: starts(directory))
        order[1].let_go()
        held = keeper.until(UID, lambda holding: holding.pid)
        assert held.alive
        assert not held.lost

        keeper.order(Kill(UID))
        over = keeper.until_over(UID)

    assert over.ended is not None
    assert over.ended.signal == signal.SIGKILL
    assert starts(directory) == 1


def test_what_was_told_as_failed_is_never_started_later(directory: Path) -> None:
    early = GatedShim(directory, "early")
    dies = GatedShim(directory, "dies", then="exit 1 #")
    killed = ServedKeeper(directory, environment=early.environment)
    spawn(killed)
    early.until_waiting()
    killed.kill()

    with ServedKeeper(directory, environment=dies.environment) as keeper:
        spawn(keeper)
        dies.until_waiting()
        dies.let_go()
        failure = keeper.until_over(UID).failure
        early.let_go()
        until(lambda: state(early.pid) is None)

    assert failure == Failure(errno.EAGAIN, "spawn", "farspawn-shim")
    assert starts(directory) == 0


def as_directory(place: Path) -> None:
    place.mkdir()


def as_link(place: Path) -> None:
    place.symlink_to("/etc/passwd")


def as_pipe(place: Path) -> None:
    os.mkfifo(place)


@pytest.mark.parametrize("plant", [as_directory, as_link, as_pipe])
def test_what_is_no_file_at_the_place_of_one_fails_that_run_alone(
    directory: Path, plant: Callable[[Path], None]
) -> None:
    with ServedKeeper(directory) as keeper:
        plant(directory / RUN_FILE)
        spawn(keeper)
        keeper.spawn("other/1", ["true"])

        assert keeper.until_over("other/1").ended
        assert keeper.until_over(UID).failure == Failure(errno.EEXIST, "output", RUN_FILE)
    assert starts(directory) == 0


def test_a_shim_whose_file_was_removed_is_held_and_its_run_not_started_again(directory: Path) -> None:
    killed = ServedKeeper(directory)
    spawn(killed)
    pid = killed.until_started(UID).pid
    until(lambda: starts(directory))
    killed.kill()
    shutil.rmtree(directory / "logs")

    with ServedKeeper(directory) as keeper:
        spawn(keeper)
        assert keeper.until_started(UID).pid == pid
        keeper.order(Kill(UID))
        assert keeper.until_over(UID).ended
    assert starts(directory) == 1


def test_a_shim_that_could_not_make_its_file_ends_when_the_next_keeper_comes(directory: Path) -> None:
    killed = ServedKeeper(directory)
    (directory / "logs").rename(directory / "away")
    spawn(killed)
    assert killed.until_over(UID).failure == Failure(errno.ENOENT, "output", RUN_FILE)
    (shim,) = killed.shims()
    killed.kill()

    with ServedKeeper(directory) as keeper:
        until(lambda: state(shim) is None)

        assert keeper.log.count("no shim of ours") <= 2
        spawn(keeper)
        assert keeper.until_started(UID).pid


def test_a_write_that_a_newer_one_replaces_is_answered(directory: Path) -> None:
    (directory / "logs").mkdir()
    with (directory / RUN_FILE).open("wb") as file, ServedKeeper(directory) as keeper:
        fcntl.lockf(file, fcntl.LOCK_EX)
        spawn(keeper)

        keeper.order(Write(1, UID, 7, "", end=False), Write(2, UID, 9, "", end=False))

        assert keeper.answer(1) == InputTaken(1, 7)
        file.truncate(24)
        fcntl.lockf(file, fcntl.LOCK_UN)
        assert keeper.answer(2) == InputTaken(2, 0, closed=True)
        keeper.order(Forget(UID))
