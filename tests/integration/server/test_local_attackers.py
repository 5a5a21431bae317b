"""What somebody on the same machine can do to an agent: another user, a task, whoever was there first."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.agent import AT_ONCE, Agent, short_directory, until_ended
from support.command import farspawnd_says
from support.confined import AS_NOBODY, NOBODY, why_not
from support.processes import python_program
from support.refused import refused
from support.specs import restart, start
from support.tasks import launch, new_id, output, shell, status_of, stop
from support.waiting import PATIENCE, until

from farspawn import AddressError, _address
from farspawn.v1 import launcher_pb2 as pb
from farspawn.v1 import task_pb2

NO_OTHER_USER = why_not(AS_NOBODY)
other_user = pytest.mark.skipif(bool(NO_OTHER_USER), reason=NO_OTHER_USER)

TRAVERSALS = ["../x", "..", ".", "/etc/passwd", "a/b", "a/../b", "\\..\\x", "a\0b", "%2e%2e%2f", "~", "a\n"]


@pytest.fixture(scope="module")
def _agent() -> Iterator[Agent]:
    with short_directory() as directory:
        directory.chmod(0o755)  # others may look for a way in
        inside = directory / "own"
        inside.mkdir(mode=0o700)
        with Agent(inside) as agent:
            yield agent


@pytest.fixture
def agent(_agent: Agent) -> Iterator[Agent]:
    yield _agent
    _agent.clear()


def beside_the_state(agent: Agent) -> list[Path]:
    """Return all that lies where the agent writes, but for the files of its state."""
    return sorted(path for path in agent.directory.parent.rglob("*") if agent.state not in path.parents)


@pytest.mark.parametrize("task_id", TRAVERSALS)
def test_an_id_is_never_a_path(agent: Agent, task_id: str) -> None:
    before = beside_the_state(agent)

    assert refused(lambda: launch(agent.stub, ["true"], task_id=task_id)).reason == "SPEC_INVALID"
    for call in (
        lambda: list(agent.stub.ReadLogs(pb.ReadLogsRequest(task_id=task_id))),
        lambda: agent.stub.DeleteTask(pb.DeleteTaskRequest(task_id=task_id)),
        lambda: agent.stub.StopTask(pb.StopTaskRequest(task_id=task_id)),
    ):
        assert refused(call).reason == "TASK_NOT_FOUND"
    assert beside_the_state(agent) == before


def test_the_same_attempt_to_leave_by_a_page_token_is_refused(agent: Agent) -> None:
    assert refused(lambda: agent.stub.ListTasks(pb.ListTasksRequest(page_token="../../x"))).reason == "SPEC_INVALID"


def test_a_task_that_links_its_next_output_elsewhere_writes_nothing_there(agent: Agent, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("as it was")
    script = (
        f'for kind in stdout stderr; do ln -s {victim} "{agent.state}/logs/$FARSPAWN_TASK_UID.2.$kind"; done; '
        '[ "$FARSPAWN_ATTEMPT" = 1 ] && exit 1; echo something; sleep 600'
    )
    spec = task_pb2.TaskSpec(argv=shell(script), restart=restart(task_pb2.RESTART_MODE_ON_FAILURE, most=1))
    task_id = start(agent.stub, spec).task_id
    until(lambda: status_of(agent.stub, task_id).output_error == "ELOOP")

    stop(agent.stub, task_id, AT_ONCE)

    assert until_ended(agent.stub, task_id).outcome.signal == signal.SIGKILL
    *_, end = agent.stub.ReadLogs(pb.ReadLogsRequest(task_id=task_id))
    assert (end.end.complete, end.end.lost_bytes) == (False, len(b"something\n"))
    assert victim.read_text() == "as it was"


@pytest.mark.parametrize("how", ["ln -sf /etc/passwd {path}", "rm {path}; mkfifo {path}", "rm {path}; mkdir {path}"])
def test_a_task_that_replaces_its_output_shows_nothing_of_others(agent: Agent, how: str) -> None:
    path = f'"{agent.state}/logs/$FARSPAWN_TASK_UID.1.stdout"'
    task_id = launch(agent.stub, shell(how.format(path=path))).status.task_id
    until_ended(agent.stub, task_id)

    assert output(agent.stub, task_id) == b""
    agent.stub.DeleteTask(pb.DeleteTaskRequest(task_id=task_id))


@other_user
def test_another_user_gets_nowhere_near(agent: Agent) -> None:
    launch(agent.stub, shell("echo of patients"))
    socket_path = agent.address.removeprefix("unix:")
    paths = [str(path) for path in agent.directory.rglob("*") if path.is_file()]
    body = """
import socket, sys
for path in sys.argv[2:]:
    try:
        open(path, "rb")
    except PermissionError:
        continue
    sys.exit(f"opened {path}")
try:
    socket.socket(socket.AF_UNIX).connect(sys.argv[1])
except PermissionError:
    sys.exit(0)
sys.exit("connected")
"""
    # Without the right to read all that the interpreter needs in root's home: a Python that everybody may run.
    python = shutil.which("python3", path="/usr/bin:/usr/local/bin") or sys.executable
    words = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", python, "-I", "-S", "-c", body]
    done = subprocess.run(
        [*words, socket_path, *paths], capture_output=True, text=True, timeout=PATIENCE, check=False, cwd="/"
    )

    assert paths
    assert (done.returncode, done.stderr) == (0, "")


def test_a_directory_that_somebody_else_put_where_the_socket_would_be_is_refused() -> None:
    with short_directory() as directory:
        theirs = directory / "theirs"
        theirs.mkdir(mode=0o700)
        (directory / "sock").symlink_to(theirs)

        said = farspawnd_says("--state", f"{directory}/state", "--listen", f"unix:{directory}/sock/a.sock")

        assert said.code != 0
        assert "not a symbolic link" in said.stderr
        assert not list(theirs.iterdir())


def test_a_link_in_the_place_of_the_socket_is_not_followed() -> None:
    with short_directory() as directory:
        target = directory / "target"
        (directory / "own").mkdir(mode=0o700)
        (directory / "own" / "a.sock").symlink_to(target)

        said = farspawnd_says("--state", f"{directory}/state", "--listen", f"unix:{directory}/own/a.sock")

        assert said.code != 0
        assert "cannot listen" in said.stderr
        assert not target.exists()


def test_a_client_speaks_to_no_socket_in_somebody_elses_directory() -> None:
    uid = NOBODY + 1  # nobody's
    directory = Path(f"/tmp/farspawn-{uid}")
    directory.mkdir(mode=0o700)
    try:
        with socket.socket(socket.AF_UNIX) as trap:
            trap.bind(f"{directory}/farspawnd.sock")
            with pytest.raises(AddressError, match="no agent of yours made it"):
                _address.address_of(None, {}, uid)
    finally:
        shutil.rmtree(directory)


def test_a_client_follows_no_link_to_its_agent() -> None:
    with tempfile.TemporaryDirectory() as theirs:
        uid = NOBODY + 2  # nobody's
        link = Path(f"/tmp/farspawn-{uid}")
        link.symlink_to(theirs)
        try:
            with pytest.raises(AddressError, match="no agent of yours made it"):
                _address.address_of(None, {}, uid)
        finally:
            link.unlink()


def test_a_second_agent_on_the_same_state_directory_is_refused_and_changes_nothing(agent: Agent) -> None:
    task_id = launch(agent.stub, ["sleep", "600"], task_id=new_id("kept")).status.task_id
    said = farspawnd_says("--state", str(agent.state), "--listen", f"unix:{agent.directory}/other.sock")

    assert said.code != 0
    assert f"belongs to the agent with pid {agent.keeper_pid}" in said.stderr
    assert agent.stub.Poll(pb.PollRequest(task_ids=[task_id])).statuses[0].state == task_pb2.TASK_STATE_RUNNING
    agent.stub.StopTask(pb.StopTaskRequest(task_id=task_id, plan=AT_ONCE))


def test_a_tasks_files_are_for_the_agents_user_only(agent: Agent) -> None:
    launch(agent.stub, shell("echo secret"))
    files = [path for path in agent.state.rglob("*") if path.is_file() and not path.is_symlink()]
    modes = {path: path.stat().st_mode & 0o077 for path in files}

    assert modes
    assert not any(modes.values()), modes


def test_a_task_inherits_nothing_of_the_agents(agent: Agent) -> None:
    body = "import os; print(sorted(os.listdir('/proc/self/fd'))); print(sorted(os.environ))"
    task_id = launch(agent.stub, python_program(body)).status.task_id
    descriptors, names = output(agent.stub, task_id).decode().splitlines()

    assert "FARSPAWN_HANDED" not in names
    assert len(eval(descriptors)) <= 4  # three, and the one that lists them
    assert os.getpid()
