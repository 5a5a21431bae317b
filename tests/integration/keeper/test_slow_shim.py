"""Two shims for one run: one was slower than the death of its keeper, and the next keeper has started another."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.keeper import ServedKeeper
from support.waiting import until

from farspawn_core import proc, shim_binary
from farspawn_server.keeper.messages import Kill

UID = "task/1"
# The first to come kills its keeper and waits for the second, which waits until the first has the run.
SLOW = """#!/bin/sh
if mkdir first 2>/dev/null; then
    kill -9 $PPID
    until [ -e second ]; do sleep 0.01; done
else
    touch second
    until [ -s logs/task.1 ]; do sleep 0.01; done
fi
exec {shim} "$@"
"""


@pytest.fixture
def slow(directory: Path) -> dict[str, str]:
    program = directory / "slow-shim"
    program.write_text(SLOW.format(shim=shim_binary.path()))
    program.chmod(0o755)
    return {"FARSPAWN_SHIM": str(program)}


def test_one_has_the_run_and_the_keeper_holds_that_one(directory: Path, slow: dict[str, str]) -> None:
    killed = ServedKeeper(directory, environment=slow)
    killed.spawn(UID, ["sh", "-c", "echo started; sleep 600"])
    killed.died()

    with ServedKeeper(directory, environment=slow) as keeper:
        keeper.spawn(UID, ["sh", "-c", "echo started; sleep 600"])
        held = keeper.until_started(UID)
        until(lambda: not keeper.shims())
        keeper.order(Kill(UID))
        over = keeper.until_over(UID)

        leader = proc.read(held.pid)
        assert not held.lost
        assert over.ended is not None
        assert over.ended.signal == 9
        assert leader is None
        assert keeper.output(UID) == "started\n"
