"""Nothing stops a keeper: not a server that hangs, nor a log that nobody reads, nor a machine without descriptors."""

from __future__ import annotations

import errno
import fcntl
import os
import resource
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from support.keeper import ServedKeeper
from support.waiting import until

from farspawn_core import proc
from farspawn_server.keeper.messages import Forget, Kill

UID = "task/1"


def server_of(keeper: ServedKeeper) -> int:
    (server,) = set(proc.children(keeper.pid)) - set(keeper.shims())
    return server


def test_a_server_that_does_not_answer_is_replaced(directory: Path) -> None:
    with ServedKeeper(directory, environment={"FARSPAWN_SILENCE_SECONDS": "2"}) as keeper:
        keeper.spawn(UID, ["sleep", "600"])
        pid = keeper.until_started(UID).pid
        keeper.until_asked()
        os.kill(server_of(keeper), signal.SIGSTOP)
        keeper.silent = True

        keeper.let_go()
        keeper.silent = False
        keeper.serve()

        assert "server does not answer" in keeper.log
        assert keeper.told[UID].pid == pid


def test_a_log_that_nobody_reads_stops_nothing(directory: Path) -> None:
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
    os.set_blocking(writing, False)
    with suppress(BlockingIOError):
        while True:
            os.write(writing, b"x" * 512)
    os.set_blocking(writing, True)
    with ServedKeeper(directory, stderr=writing) as keeper:
        for number in range(3):
            keeper.spawn(f"task{number}/1", ["true"])
            assert keeper.until_over(f"task{number}/1").ended
            keeper.reload()
        os.set_blocking(reading, False)
        while len(os.read(reading, 65536)) == 65536:
            pass
        keeper.reload()
        until(lambda: b"handing over" in os.read(reading, 65536))
        keeper.kill()
    os.close(reading)
    os.close(writing)


def test_a_log_that_is_a_socket_nobody_reads_stops_nothing(directory: Path) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.setblocking(False)
        with suppress(BlockingIOError):
            while True:
                theirs.send(b"x" * 4096)
        theirs.setblocking(True)
        with ServedKeeper(directory, stderr=theirs.fileno()) as keeper:
            keeper.spawn(UID, ["true"])
            assert keeper.until_over(UID).ended
            keeper.kill()


def test_closed_standard_streams_break_nothing(directory: Path) -> None:
    closing = ["sh", "-c", 'exec <&- >&- 2>&-; exec "$@"', "sh"]
    with ServedKeeper(directory, through=closing) as keeper:
        keeper.spawn(UID, ["sh", "-c", "echo out; echo err >&2"])
        assert keeper.until_over(UID).ended
        assert (keeper.output(UID), keeper.output(UID, "stderr")) == ("out\n", "err\n")
        keeper.reload()
        keeper.kill()


def test_few_descriptors_cost_the_new_launch_only(directory: Path) -> None:
    limit = 80

    def few() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit // 2, limit))

    with ServedKeeper(directory, preexec_fn=few) as keeper:
        uids = [f"task{number}/1" for number in range(limit)]
        for uid in uids:
            keeper.spawn(uid, ["sh", "-c", "ulimit -n; exec sleep 600"])
        held = [keeper.until_started(uid) for uid in uids]
        running = [each.uid for each in held if each.failure is None]
        refused = [each.failure.error_number for each in held if each.failure is not None]

        assert len(running) > 10
        assert set(refused) == {errno.EMFILE}
        until(lambda: keeper.output(running[0]))
        assert keeper.output(running[0]) == f"{limit // 2}\n"

        keeper.reload()
        for uid in running:
            assert keeper.until_started(uid).pid
        keeper.order(*(Kill(uid) for uid in running))
        assert all(keeper.until_over(uid).ended for uid in running)
        keeper.order(*(Forget(uid) for uid in running))
        until(lambda: not keeper.shims())
        keeper.spawn("again/1", ["true"])
        assert keeper.until_over("again/1").ended


def test_a_second_keeper_of_the_same_directory_says_whose_it_is(keeper: ServedKeeper) -> None:
    command = [sys.executable, "-P", "-m", "farspawn_server.keeper", str(keeper.directory), "true"]
    refused = subprocess.run(command, capture_output=True, text=True, check=False)

    assert refused.returncode == 1
    assert f"agent with pid {keeper.pid}" in refused.stderr


def test_a_state_directory_with_a_long_path_is_no_trouble(directory: Path) -> None:
    deep = directory / ("d" * 100) / ("e" * 100)
    deep.mkdir(parents=True)
    with ServedKeeper(deep, relay_in=directory) as keeper:
        keeper.spawn(UID, ["sleep", "600"])
        pid = keeper.until_started(UID).pid
        keeper.reload()
        assert keeper.until_started(UID).pid == pid
