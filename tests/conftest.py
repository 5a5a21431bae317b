"""What every test may be given."""

from __future__ import annotations

import os
from collections.abc import Iterator

# Read when grpc is imported: our tests must not be hurt by the very fork handlers that farspawn avoids.
os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")

import hypothesis
import pytest
from support.agent import Agent, short_directory

# No test is timed: machines are busy.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")


@pytest.fixture(scope="session")
def _shared_agent() -> Iterator[Agent]:
    with short_directory() as directory, Agent(directory) as agent:
        yield agent


@pytest.fixture
def agent(_shared_agent: Agent) -> Iterator[Agent]:
    """A running agent that tests share: for whatever leaves it running. Its tasks are ended after each test."""
    yield _shared_agent
    _shared_agent.clear()


@pytest.fixture
def own_agent() -> Iterator[Agent]:
    """A running agent of the test's own, to be killed, drained or filled up."""
    with short_directory() as directory, Agent(directory) as agent:
        yield agent
        agent.check_log()
