"""A task says when it is ready for its work, and Poll and WatchTasks say so too: once, for the attempt that said it."""

from __future__ import annotations

import socket
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest
from support.agent import AT_ONCE, Agent, until_ended
from support.specs import ALWAYS, restart, start, until_state
from support.tasks import launch, plan, python, shell, span, status_of, stop
from support.waiting import PATIENCE, until

from farspawn.v1 import launcher_pb2 as pb
from farspawn.v1 import task_pb2

RUNNING = task_pb2.TASK_STATE_RUNNING
LOOKS = 3
"""So many looks of the site's are over when another task has become ready so often, each after the other."""


def on_line(pattern: str) -> task_pb2.Readiness:
    return task_pb2.Readiness(log_line=pattern)


def on_file(path: Path) -> task_pb2.Readiness:
    return task_pb2.Readiness(file=str(path))


def ready(agent: Agent, task_id: str) -> bool:
    return status_of(agent.stub, task_id).ready


def let_looks_pass(agent: Agent) -> None:
    """Wait until the site has had more than one look at every task."""
    for _ in range(LOOKS):
        spec = task_pb2.TaskSpec(argv=shell("echo up; exec sleep 60"), readiness=on_line("up"))
        task_id = start(agent.stub, spec).task_id
        until(partial(ready, agent, task_id))
        stop(agent.stub, task_id, AT_ONCE)


@pytest.mark.parametrize(
    ("script", "pattern"),
    [
        ("echo listening on port 80", "listening on port *"),
        ("echo noise; echo listening on port 80; echo noise", "*port*"),
        ("echo ready >&2", "ready"),
        ("printf rea; printf 'dy\\n'", "ready"),
        ("head -c 200000 /dev/zero; echo; echo ready", "ready"),
        ("printf '\\377\\n'; echo ready", "ready"),
    ],
)
def test_a_line_that_matches_makes_a_task_ready(agent: Agent, script: str, pattern: str) -> None:
    spec = task_pb2.TaskSpec(argv=shell(f"{script}; exec sleep 60"), readiness=on_line(pattern))

    task_id = start(agent.stub, spec).task_id

    until(lambda: ready(agent, task_id))
    assert status_of(agent.stub, task_id).state == RUNNING


def test_a_line_without_its_end_makes_nobody_ready(agent: Agent, tmp_path: Path) -> None:
    script = f"printf ready; while [ ! -e {tmp_path}/go ]; do sleep 0.02; done; echo; exec sleep 60"
    task_id = start(agent.stub, task_pb2.TaskSpec(argv=shell(script), readiness=on_line("ready"))).task_id

    let_looks_pass(agent)
    before = ready(agent, task_id)
    (tmp_path / "go").touch()

    until(lambda: ready(agent, task_id))
    assert not before


def test_a_line_that_does_not_match_makes_nobody_ready(agent: Agent) -> None:
    spec = task_pb2.TaskSpec(argv=shell("echo not ready; exec sleep 60"), readiness=on_line("ready"))
    task_id = start(agent.stub, spec).task_id

    let_looks_pass(agent)

    assert not ready(agent, task_id)


def test_a_port_that_takes_connections_makes_a_task_ready(agent: Agent, tmp_path: Path) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port: int = taken.getsockname()[1]
    serves = python(
        f"import os, socket, time\n"
        f"while not os.path.exists('{tmp_path}/go'): time.sleep(0.02)\n"
        f"server = socket.create_server(('127.0.0.1', {port}))\n"
        f"while True: server.accept()"
    )
    spec = task_pb2.TaskSpec(argv=serves, readiness=task_pb2.Readiness(tcp_port=port))
    task_id = start(agent.stub, spec).task_id

    let_looks_pass(agent)
    before = ready(agent, task_id)
    (tmp_path / "go").touch()

    until(lambda: ready(agent, task_id))
    assert not before


def test_a_file_that_appears_makes_a_task_ready(agent: Agent, tmp_path: Path) -> None:
    spec = task_pb2.TaskSpec(argv=["sleep", "60"], readiness=on_file(tmp_path / "there"))
    task_id = start(agent.stub, spec).task_id

    let_looks_pass(agent)
    before = ready(agent, task_id)
    (tmp_path / "there").touch()

    until(lambda: ready(agent, task_id))
    assert not before


def test_a_task_that_is_ready_stays_so(agent: Agent, tmp_path: Path) -> None:
    there = tmp_path / "there"
    there.touch()
    task_id = start(agent.stub, task_pb2.TaskSpec(argv=["sleep", "60"], readiness=on_file(there))).task_id
    until(lambda: ready(agent, task_id))

    there.unlink()
    let_looks_pass(agent)
    stop(agent.stub, task_id, AT_ONCE)

    assert until_ended(agent.stub, task_id).ready


def test_a_task_without_a_check_is_never_called_ready(agent: Agent) -> None:
    task_id = launch(agent.stub, shell("echo ready; exec sleep 60")).status.task_id

    let_looks_pass(agent)

    assert not ready(agent, task_id)


def test_a_poll_that_waits_hears_of_it(agent: Agent, tmp_path: Path) -> None:
    spec = task_pb2.TaskSpec(argv=["sleep", "60"], readiness=on_file(tmp_path / "there"))
    task_id = start(agent.stub, spec).task_id
    running = until_state(agent.stub, task_id, RUNNING)
    request = pb.PollRequest(task_ids=[task_id], wait=span(30), since_revision=running.revision)
    answer = agent.stub.Poll.future(request, timeout=PATIENCE)

    (tmp_path / "there").touch()

    assert [each.ready for each in answer.result().statuses] == [True]


def test_a_watch_hears_of_it(agent: Agent, tmp_path: Path) -> None:
    which = pb.TaskFilter(labels={"watched": str(tmp_path)})
    changes = agent.stub.WatchTasks(pb.WatchTasksRequest(filter=which), timeout=PATIENCE)
    spec = task_pb2.TaskSpec(
        argv=["sleep", "60"], readiness=on_file(tmp_path / "there"), labels={"watched": str(tmp_path)}
    )
    start(agent.stub, spec)
    heard = []
    for change in changes:
        if change.HasField("changed"):
            heard.append((change.changed.state, change.changed.ready))
            if heard[-1] == (RUNNING, False):
                (tmp_path / "there").touch()
            if change.changed.ready:
                break
    changes.cancel()

    assert heard[-2:] == [(RUNNING, False), (RUNNING, True)]


@pytest.mark.parametrize("script", ["echo ready", "echo ready; exit 3", "exit 0"])
def test_a_task_that_ended_first_was_not_made_ready_after(agent: Agent, script: str, tmp_path: Path) -> None:
    check = on_file(tmp_path / "there")
    task_id = start(agent.stub, task_pb2.TaskSpec(argv=shell(script), readiness=check)).task_id
    ended = until_ended(agent.stub, task_id)

    (tmp_path / "there").touch()
    let_looks_pass(agent)

    assert status_of(agent.stub, task_id) == ended
    assert not ended.ready


def test_a_task_that_is_being_stopped_is_not_made_ready(agent: Agent, tmp_path: Path) -> None:
    spec = task_pb2.TaskSpec(argv=["sleep", "60"], readiness=on_file(tmp_path / "there"))
    task_id = start(agent.stub, spec).task_id
    stop(agent.stub, task_id, plan(linger=3600))

    (tmp_path / "there").touch()
    let_looks_pass(agent)

    assert not ready(agent, task_id)


def test_each_attempt_has_to_become_ready_itself(agent: Agent, tmp_path: Path) -> None:
    script = (
        f"[ $FARSPAWN_ATTEMPT = 2 ] || {{ echo ready; while [ ! -e {tmp_path}/go ]; do sleep 0.02; done; exit 1; }}; "
        "echo second; exec sleep 60"
    )
    spec = task_pb2.TaskSpec(argv=shell(script), readiness=on_line("ready"), restart=restart(ALWAYS))
    task_id = start(agent.stub, spec).task_id
    until(lambda: ready(agent, task_id))

    (tmp_path / "go").touch()
    until(lambda: status_of(agent.stub, task_id).attempt == 2)
    until_state(agent.stub, task_id, RUNNING)
    let_looks_pass(agent)

    assert not ready(agent, task_id)


def test_readiness_outlives_the_server(own_agent: Agent, tmp_path: Path) -> None:
    before = start(
        own_agent.stub, task_pb2.TaskSpec(argv=shell("echo up; exec sleep 60"), readiness=on_line("up"))
    ).task_id
    later = start(
        own_agent.stub, task_pb2.TaskSpec(argv=["sleep", "60"], readiness=on_file(tmp_path / "there"))
    ).task_id
    until(lambda: ready(own_agent, before))

    own_agent.kill_server()
    assert ready(own_agent, before)
    assert not ready(own_agent, later)
    (tmp_path / "there").touch()

    until(lambda: ready(own_agent, later))


def test_a_line_that_was_written_while_no_server_ran_counts(own_agent: Agent, tmp_path: Path) -> None:
    script = f"while [ ! -e {tmp_path}/go ]; do sleep 0.02; done; echo ready; exec sleep 60"
    task_id = start(own_agent.stub, task_pb2.TaskSpec(argv=shell(script), readiness=on_line("ready"))).task_id

    (tmp_path / "go").touch()
    own_agent.kill_server()

    until(lambda: ready(own_agent, task_id))


def test_a_hostile_pattern_on_a_task_that_writes_much_delays_nobody(agent: Agent, tmp_path: Path) -> None:
    (tmp_path / "line").write_bytes(b"a" * 60_000 + b"\n")
    script = "for i in 1 2 3 4 5 6 7 8 9; do for j in 1 2 3 4 5 6 7 8 9; do cat line; done; done; exec sleep 60"
    spec = task_pb2.TaskSpec(argv=shell(script), working_directory=str(tmp_path), readiness=on_line("a*" * 500 + "b"))
    hostile = start(agent.stub, spec).task_id

    let_looks_pass(agent)

    assert not ready(agent, hostile)
