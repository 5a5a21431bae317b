"""A server that is newer than its keeper, between the installation of an upgrade and its reload."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from farspawn_server.audit import Trail
from farspawn_server.keeper.messages import Hello, Spawn
from farspawn_server.link import KeeperLink
from farspawn_server.logs import LogFiles
from farspawn_server.policy import LOCAL, Ceilings, Limits, Policy
from farspawn_server.store import Store
from farspawn_server.supervisor import Supervisor
from farspawn_server.task.errors import RecoveringError
from farspawn_server.task.spec import Resources, Spec

OLD = Hello("keeper", "boot", 1)
NEW = Hello("keeper", "boot", 1, confines=True)


class Orders(KeeperLink):
    """Takes orders, and carries out none."""

    def __init__(self) -> None:
        nothing = lambda *_: None  # noqa: E731  # four times the same
        super().__init__(changed=nothing, drain=nothing, reconfigure=nothing, lost=nothing)
        self.spawned: list[Spawn] = []

    def spawn(self, order: Spawn) -> None:
        self.spawned.append(order)

    async def obeyed(self) -> None:
        pass


async def launched(directory: Path, hello: Hello, policy: Policy) -> list[Spawn]:
    """Return the orders that a launch came to."""
    store = Store(directory / "farspawn.db", Trail(directory / "audit", max_file_bytes=1 << 20, max_files=0))
    supervisor = Supervisor(
        store=store, logs=LogFiles(directory / "logs"), limits=Limits(), policy=policy, drain_patience=0
    )
    link = Orders()
    try:
        await supervisor.recover(link, hello)
        await supervisor.launch(LOCAL, "a", Spec(("/bin/true",)), {})
    finally:
        await supervisor.close(0)
        await store.close()
    return link.spawned


CONFINED = Policy(ceilings=Ceilings(resources=Resources(open_files=9)))


def test_a_keeper_that_would_ignore_what_the_owner_imposes_is_given_nothing_to_start(tmp_path: Path) -> None:
    with pytest.raises(RecoveringError, match="farspawnd reload"):
        asyncio.run(launched(tmp_path, OLD, CONFINED))


def test_it_starts_what_is_not_confined(tmp_path: Path) -> None:
    (order,) = asyncio.run(launched(tmp_path, OLD, Policy()))

    assert order.confinement is None


def test_one_that_does_not_is_given_all(tmp_path: Path) -> None:
    (order,) = asyncio.run(launched(tmp_path, NEW, CONFINED))

    assert order.confinement is not None
    assert order.confinement.open_files == 9
