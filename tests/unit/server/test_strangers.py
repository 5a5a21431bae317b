"""Tasks of an earlier keeper, while the new one executes itself."""

from __future__ import annotations

import os
import select

import pytest
from farspawn_server.keeper.pidfile import Pidfile
from farspawn_server.keeper.strangers import Strangers
from support.processes import PLAIN

from farspawn_core import exits, proc, spawn

kernel = tuple(int(number) for number in os.uname().release.split(".")[:2])


@pytest.mark.skipif(kernel < (6, 15), reason="before Linux 6.15 nobody but its parent learns how a process ended")
def test_the_exit_of_a_stranger_that_ended_between_two_images_is_known() -> None:
    reading, writing = os.pipe()
    pid = spawn(["/bin/sh", "-c", "read line; exit 7"], env=PLAIN, descriptors=(reading, 1, 2))
    process = proc.read(pid)
    assert process is not None
    before, after = Strangers(Pidfile("/dev/null")), Strangers(Pidfile("/dev/null"))
    assert before.watch(process, "uid/1")

    pidfd = before.leave("uid/1")
    os.close(writing)
    exits.reap(pid)
    assert pidfd is not None
    after.take(pidfd, "uid/1")

    select.select([after.fileno()], [], [])
    ((uid, how),) = after.ended()
    assert how is not None
    assert (uid, how.code) == ("uid/1", 7)
    os.close(reading)
