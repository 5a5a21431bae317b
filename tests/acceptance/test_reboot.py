"""After a reboot nothing of a task can be alive, and no shim can tell how it ended."""

from __future__ import annotations

from support.agent import Agent
from support.crash import marked
from support.evidence import ENDS_AT_ONCE, WAITS
from support.left_running import edit, launch_and_leave, scene
from support.tasks import shell, status_of
from support.waiting import until

from farspawn.v1 import task_pb2


def test_what_ran_before_a_reboot_is_lost_at_once_and_nobody_is_signalled() -> None:
    with scene() as (directory, here):
        here.add_gate("task")
        launched = launch_and_leave(directory, {"task": here.spec(shell(WAITS))})
        until(here.started)
        edit(directory, "task", boot="0b0e0f2c-0000-4000-8000-000000000000")

        with Agent(directory) as agent:
            status = status_of(agent.stub, "task")

            assert status.state == task_pb2.TASK_STATE_LOST
            assert status.outcome.cause == task_pb2.CAUSE_HOST_REBOOTED
            assert status.uid == launched["task"].uid
            assert [process.pid for process in marked(directory)] == [launched["task"].pid]  # in truth it lives
            agent.check_log()


def test_what_had_ended_before_a_reboot_stays_as_it_was() -> None:
    with scene() as (directory, here):
        here.add_gate("task")
        launch_and_leave(directory, {"task": here.spec(shell(ENDS_AT_ONCE))})
        with Agent(directory) as agent:
            before = status_of(agent.stub, "task")
        edit(directory, "task", boot="0b0e0f2c-0000-4000-8000-000000000000")

        with Agent(directory) as agent:
            assert status_of(agent.stub, "task") == before
