"""LaunchTask: what a task is given, and what the caller is told."""

from __future__ import annotations

import hashlib
import json
import os
import pwd
import time
from pathlib import Path

import pytest
from support.agent import Agent, until_ended
from support.tasks import launch, new_id, output, plan, shell, span

from farspawn.v1 import launcher_pb2 as pb
from farspawn.v1 import task_pb2


def test_a_launched_task_runs_and_its_exit_code_is_told(agent: Agent) -> None:
    task = launch(agent.stub, shell("exit 7"))

    ended = until_ended(agent.stub, task.status.task_id)

    assert ended.state == task_pb2.TASK_STATE_EXITED
    assert ended.outcome.WhichOneof("ending") == "exit_code"
    assert ended.outcome.exit_code == 7
    assert ended.outcome.cause == task_pb2.CAUSE_COMPLETED


def test_the_answer_holds_the_whole_task(agent: Agent) -> None:
    task_id = new_id()
    spec = task_pb2.TaskSpec(
        argv=["sleep", "60"],
        env={"A": "b"},
        working_directory="/tmp",
        stop=plan(grace=0.5, signal=2),
        max_runtime=span(3600),
        lease=task_pb2.Lease(ttl=span(600), action=task_pb2.LEASE_ACTION_KILL),
        labels={"round": "3"},
    )

    reply = agent.stub.LaunchTask(pb.LaunchTaskRequest(task_id=task_id, spec=spec))

    assert reply.created
    assert reply.task.spec == spec
    assert reply.task.status.task_id == task_id
    assert reply.task.status.state == task_pb2.TASK_STATE_RUNNING
    assert reply.task.status.attempt == 1
    assert os.readlink(f"/proc/{reply.task.status.pid}/exe") == str(Path("/bin/sleep").resolve())
    assert not reply.task.status.HasField("outcome")
    assert reply.task.owner == "local"


def test_a_task_without_an_id_is_given_a_uuid_of_version_7(agent: Agent) -> None:
    spec = task_pb2.TaskSpec(argv=["true"])

    first = agent.stub.LaunchTask(pb.LaunchTaskRequest(spec=spec)).task.status
    second = agent.stub.LaunchTask(pb.LaunchTaskRequest(spec=spec)).task.status

    assert first.task_id[14] == "7"
    assert first.task_id < second.task_id
    assert {first.task_id, second.task_id}.isdisjoint({first.uid, second.uid})


def test_a_task_sees_the_default_environment_its_own_and_nothing_of_the_agent(agent: Agent) -> None:
    task = launch(agent.stub, ["/usr/bin/env", "-0"], env={"LANG": "de_DE.UTF-8", "MINE": "a=b\nc"})

    seen = dict(each.split("=", 1) for each in output(agent.stub, task.status.task_id).decode().split("\0") if each)

    user = pwd.getpwuid(os.getuid())
    assert seen == {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": user.pw_dir,
        "USER": user.pw_name,
        "LOGNAME": user.pw_name,
        "LANG": "de_DE.UTF-8",
        "MINE": "a=b\nc",
        "FARSPAWN_TASK_ID": task.status.task_id,
        "FARSPAWN_TASK_UID": task.status.uid,
        "FARSPAWN_ATTEMPT": "1",
    }


@pytest.mark.parametrize(("asked", "given"), [("", "/"), ("/usr", "/usr")])
def test_a_task_starts_in_its_working_directory(agent: Agent, asked: str, given: str) -> None:
    task = launch(agent.stub, ["/bin/pwd"], cwd=asked)

    assert output(agent.stub, task.status.task_id) == f"{given}\n".encode()


def test_the_program_is_searched_in_the_path_of_the_task(agent: Agent, tmp_path: Path) -> None:
    (tmp_path / "only-here").symlink_to("/bin/echo")

    task = launch(agent.stub, ["only-here", "found"], env={"PATH": str(tmp_path)})

    assert output(agent.stub, task.status.task_id) == b"found\n"


def test_a_relative_program_is_taken_from_the_working_directory(agent: Agent, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "mine").symlink_to("/bin/echo")

    task = launch(agent.stub, ["bin/mine", "found"], cwd=str(tmp_path))

    assert output(agent.stub, task.status.task_id) == b"found\n"


def test_the_input_of_a_task_is_empty(agent: Agent) -> None:
    task = launch(agent.stub, shell("wc -c; readlink /proc/self/fd/0"))

    assert output(agent.stub, task.status.task_id).split() == [b"0", b"/dev/null"]


def test_a_task_inherits_no_descriptor_but_the_three(agent: Agent) -> None:
    task = launch(agent.stub, ["ls", "/proc/self/fd"])

    # The fourth is ls's own: the directory that it lists.
    assert output(agent.stub, task.status.task_id).split() == [b"0", b"1", b"2", b"3"]


def test_a_task_starts_with_no_signal_ignored_or_blocked(agent: Agent) -> None:
    task = launch(agent.stub, ["grep", "-E", "^Sig(Blk|Ign)", "/proc/self/status"])

    masks = dict(line.split(":\t") for line in output(agent.stub, task.status.task_id).decode().splitlines())

    assert int(masks["SigBlk"], 16) == 0
    assert int(masks["SigIgn"], 16) & ~(0b11 << 31) == 0  # glibc keeps its own 32 and 33 ignored


def test_a_task_leads_a_session_of_its_own(agent: Agent) -> None:
    task = launch(agent.stub, ["sleep", "60"])

    assert os.getsid(task.status.pid) == os.getpgid(task.status.pid) == task.status.pid


def test_every_phase_has_its_time(agent: Agent) -> None:
    before = time.time_ns()

    times = until_ended(agent.stub, launch(agent.stub, ["true"]).status.task_id).times

    reached = [each.ToNanoseconds() for each in (times.created, times.started, times.leader_exited, times.ended)]
    moments = [before, *reached, time.time_ns()]
    assert moments == sorted(moments)
    assert not any(times.HasField(name) for name in ("stop_requested", "signalled", "killed"))


def test_the_digest_is_that_of_the_canonical_form_in_the_contract(agent: Agent) -> None:
    canonical = json.dumps({"argv": ["true"], "env": {"A": "b"}}, sort_keys=True, separators=(",", ":"))

    task = launch(agent.stub, ["true"], env={"A": "b"})

    assert task.spec_digest == hashlib.sha256(canonical.encode()).hexdigest()
