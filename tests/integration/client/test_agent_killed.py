"""The server is killed, or the whole agent: what waits, watches, follows or writes goes on."""

from __future__ import annotations

import hashlib
import os
import signal
from pathlib import Path

from support.agent import Agent, short_directory
from support.processes import is_alive, state
from support.tasks import shell
from support.waiting import until

import farspawn
from farspawn import Readiness

UNTIL_GATE = "until [ -e {gate} ]; do sleep 0.01; done; "


def test_waiting_watching_and_reading_outlive_the_server(
    own_agent: Agent, own_site: farspawn.Client, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    process = own_site.launch(shell("echo before; " + UNTIL_GATE.format(gate=gate) + "echo after; exit 5"))
    watch = iter(own_site.watch())
    lines = iter(process.logs(follow=True).lines())
    assert next(lines).data == b"before\n"
    while not isinstance(next(watch), farspawn.Checkpoint):
        pass

    own_agent.kill_server()
    gate.touch()

    assert process.wait() == 5
    assert [line.data for line in lines] == [b"after\n"]
    events = [next(watch)]
    while not _has_ended(events[-1]):
        events.append(next(watch))
    assert any(isinstance(event, farspawn.WatchResumed) for event in events)


def _has_ended(event: farspawn.WatchEvent) -> bool:
    return isinstance(event, farspawn.TaskChanged) and event.status.ended


def test_what_is_written_arrives_once_though_the_server_is_killed(
    own_agent: Agent, own_site: farspawn.Client, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    # It reads nothing before the server was killed: the pipe is full by then, and the write is under way.
    process = own_site.launch(shell(UNTIL_GATE.format(gate=gate) + "exec sha256sum"), open_input=True)
    process.write_input(b"first ")
    pipe = 64 << 10

    own_agent.kill_server()
    process.write_input(b"x" * (pipe - 6))
    os.kill(own_agent.server_pid, signal.SIGKILL)
    gate.touch()
    process.write_input(b"y" * 100_000)
    process.close_input()

    assert process.wait() == 0
    digest = b"".join(part.data for part in process.logs())
    assert digest.split()[0].decode() == _sha256(b"first " + b"x" * (pipe - 6) + b"y" * 100_000)


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_readiness_is_waited_for_over_a_kill(own_agent: Agent, own_site: farspawn.Client, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    process = own_site.launch(["sleep", "60"], readiness=Readiness(file=str(gate)))

    own_agent.kill_server()
    gate.touch()
    process.wait_ready()

    assert process.ready


def test_an_end_while_no_agent_ran_is_told_by_the_next() -> None:
    with short_directory() as directory:
        with Agent(directory) as agent, farspawn.Client(agent.address) as site:
            process = site.launch(["sleep", "60"])
            assert process.pid is not None
            agent.kill_keeper()
            found = state(process.pid)
            assert found is not None
            os.kill(process.pid, signal.SIGKILL)
            until(lambda: not is_alive(process.pid or 0, found[1]))
        with Agent(directory) as agent, farspawn.Client(agent.address) as site:
            assert site.process(process.task_id).wait() == -signal.SIGKILL
