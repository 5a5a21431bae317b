"""A server that is stopped, by a debugger or a freezer, when its keeper dies."""

from __future__ import annotations

import os
import signal

from support.agent import Agent, short_directory
from support.waiting import until

from farspawn_core import proc


def test_a_stopped_server_ends_with_its_keeper_and_leaves_the_site_to_the_next() -> None:
    with short_directory() as directory:
        with Agent(directory) as agent:
            server = proc.read(until(lambda: agent.server_pid))
            assert server is not None
            os.kill(server.pid, signal.SIGSTOP)
            agent.kill_keeper()

        with Agent(directory) as next_agent:
            assert next_agent.server_pid != server.pid
