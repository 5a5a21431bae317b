"""An agent whose wall clock was set back since its last run: what is new still comes after what was."""

from __future__ import annotations

import sqlite3

from support.agent import Agent, short_directory, until_ended
from support.tasks import launch

from farspawn.v1 import launcher_pb2 as pb


def test_a_new_task_comes_after_those_of_a_clock_that_was_ahead() -> None:
    with short_directory() as directory:
        with Agent(directory) as agent:
            old = launch(agent.stub, ["true"]).status
            until_ended(agent.stub, old.task_id)
            agent.stop()
        future = "0fffffff" + old.uid[8:]
        rename(agent, old.uid, future)

        with Agent(directory) as agent:
            new = [launch(agent.stub, ["true"]).status for _ in range(3)]
            page = agent.stub.ListTasks(pb.ListTasksRequest(page_size=2))
            rest = agent.stub.ListTasks(pb.ListTasksRequest(page_size=2, page_token=page.next_page_token))

    listed = [task.status.uid for task in (*page.tasks, *rest.tasks)]
    assert listed == [future, *(task.uid for task in new)]
    assert sorted(listed) == listed


def rename(agent: Agent, uid: str, other: str) -> None:
    """Give the one task of an agent that does not run another uid."""
    database = sqlite3.connect(agent.state / "farspawn.db")
    with database:
        database.execute("UPDATE task SET uid = ?, record = replace(record, ?, ?)", (other, uid, other))
    database.close()
