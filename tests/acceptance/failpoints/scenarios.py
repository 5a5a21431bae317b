"""What leads through the places: a scenario for each family of steps, and which places it is for."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from errno import ENOENT

from acceptance.failpoints.cell import COMPLETED, ENDED_BEFORE, STOPPED, Actor, Cell
from support.evidence import (
    CLEANS_UP_WITH_6,
    ENDS_AT_ONCE,
    ENDS_WITH_7_ON_SIGTERM,
    FAILS_ONCE,
    LEAVES_A_CHILD_WITH_3,
    REFUSES_SIGTERM,
    WAITS,
    WAITS_BESIDE_A_CHILD,
)
from support.tasks import plan, shell, span

from farspawn.v1 import launcher_pb2 as pb
from farspawn.v1 import task_pb2

VICTIMS = ("self", "peer", "both")


class Scenario(ABC):
    """Leads up to a place with the failpoint held back, then through it."""

    def prepare(self, cell: Cell) -> None:  # noqa: B027  # most need nothing
        """Lead up to it."""

    @abstractmethod
    def act(self, cell: Cell) -> None:
        """Go through it; calls are repeated until they are answered."""


class Launch(Scenario):
    """One program that stays, one that ends at once, one that does not exist: launched together."""

    stays = Actor(task_id="stays", argv=shell(WAITS_BESIDE_A_CHILD), endings=[("exit_code", 5, COMPLETED)])
    quick = Actor(task_id="quick", argv=shell(ENDS_AT_ONCE), endings=[("exit_code", 7, COMPLETED)])
    missing = Actor(
        task_id="missing", argv=["/nowhere/to/be/found"], endings=[("errno", ENOENT, task_pb2.CAUSE_LAUNCH_FAILED)]
    )

    def act(self, cell: Cell) -> None:
        cell.launch(self.stays, self.quick, self.missing)


class Stop(Scenario):
    """One task that ends when it is asked to, then one that has to be killed with its child."""

    polite = Actor(
        task_id="polite",
        argv=shell(ENDS_WITH_7_ON_SIGTERM),
        endings=[("exit_code", 7, STOPPED)],
    )
    stubborn = Actor(
        task_id="stubborn",
        argv=shell(REFUSES_SIGTERM),
        endings=[("signal", 9, STOPPED)],
    )

    def prepare(self, cell: Cell) -> None:
        cell.launch(self.polite, self.stubborn)
        cell.until_started(self.polite, self.stubborn)

    def act(self, cell: Cell) -> None:
        cell.stop(self.polite, plan(grace=60))
        cell.until_ended(self.polite)
        cell.stop(self.stubborn, plan(grace=0.1))
        cell.until_ended(self.stubborn)


class Exit(Scenario):
    """A task that ends by itself."""

    leaver = Actor(task_id="leaver", argv=shell(WAITS), endings=[("exit_code", 5, COMPLETED)])

    def prepare(self, cell: Cell) -> None:
        cell.launch(self.leaver)
        cell.until_started(self.leaver)

    def act(self, cell: Cell) -> None:
        cell.scene.let_one_pass(self.leaver.task_id)


class ExitBeforeItsChild(Scenario):
    """A task that ends by itself and leaves a child in a session of its own."""

    leaver = Actor(
        task_id="leaver",
        argv=shell(LEAVES_A_CHILD_WITH_3),
        endings=[("exit_code", 3, COMPLETED)],
    )

    def prepare(self, cell: Cell) -> None:
        cell.launch(self.leaver)
        cell.until_started(self.leaver)

    def act(self, cell: Cell) -> None:
        cell.scene.let_one_pass(self.leaver.task_id)


class CleanUp(Scenario):
    """A task with a cleanup command, which stays until the agent is back."""

    tidy = Actor(
        task_id="tidy",
        argv=shell(WAITS),
        cleanup=CLEANS_UP_WITH_6,
        endings=[("exit_code", 5, COMPLETED)],
    )

    def prepare(self, cell: Cell) -> None:
        cell.launch(self.tidy)
        cell.until_started(self.tidy)

    def act(self, cell: Cell) -> None:
        cell.scene.let_one_pass(self.tidy.task_id)


class CleanUpUnderTheNextKeeper(CleanUp):
    """The same, of a task whose shim has dialled the next keeper: its cleanup's shim is that keeper's own child."""

    def prepare(self, cell: Cell) -> None:
        super().prepare(cell)
        killed_at = time.time_ns()
        cell.agent.kill_keeper_only()
        cell.agent.until_back(killed_at)


class Restart(Scenario):
    """A task that fails, and is started again."""

    phoenix = Actor(
        task_id="phoenix",
        argv=shell(FAILS_ONCE),
        restart=task_pb2.RestartPolicy(mode=task_pb2.RESTART_MODE_ON_FAILURE, initial_backoff=span(0.02)),
        endings=[("exit_code", 3, COMPLETED), ("exit_code", 0, COMPLETED)],
    )

    def prepare(self, cell: Cell) -> None:
        cell.launch(self.phoenix)
        cell.until_started(self.phoenix)

    def act(self, cell: Cell) -> None:
        cell.scene.let_one_pass(self.phoenix.task_id)


class Delete(Scenario):
    """A task that has ended is deleted."""

    def act(self, cell: Cell) -> None:
        cell.delete(ENDED_BEFORE)
        cell.agent.until_struck_and_back()

        reply = cell.agent.call(cell.agent.stub.Poll, pb.PollRequest(task_ids=[ENDED_BEFORE.task_id]))
        assert reply.unknown_task_ids == [ENDED_BEFORE.task_id]
        assert not [*(cell.agent.state / "logs").glob(f"{cell.uids[ENDED_BEFORE.task_id]}*")]


class Recover(Scenario):
    """The server is killed while one task ends and another is being stopped."""

    leaver = Actor(
        task_id="leaver",
        argv=shell(WAITS),
        endings=[("exit_code", 5, COMPLETED)],
    )
    stubborn = Actor(
        task_id="stubborn",
        argv=shell(REFUSES_SIGTERM),
        endings=[("signal", 9, STOPPED)],
    )

    def prepare(self, cell: Cell) -> None:
        cell.launch(self.leaver, self.stubborn)
        cell.until_started(self.leaver, self.stubborn)
        cell.stop(self.stubborn, plan(grace=1.0))

    def act(self, cell: Cell) -> None:
        self.kill(cell)
        cell.scene.let_one_pass(self.leaver.task_id)

    def kill(self, cell: Cell) -> None:
        """Kill what makes a server recover."""
        cell.agent.kill_server_only()


class Dial(Recover):
    """The same with the keeper killed: shims dial the next one, one of them with an exit that nobody else knows."""

    def kill(self, cell: Cell) -> None:
        cell.agent.kill_keeper_only()


class Reload(Scenario):
    """`farspawnd reload` while one task ends."""

    leaver = Actor(
        task_id="leaver",
        argv=shell(WAITS),
        endings=[("exit_code", 5, COMPLETED)],
    )

    def prepare(self, cell: Cell) -> None:
        cell.launch(self.leaver)
        cell.until_started(self.leaver)

    def act(self, cell: Cell) -> None:
        with ThreadPoolExecutor(1) as threads:
            reloading = threads.submit(cell.agent.reload)
            cell.scene.let_one_pass(self.leaver.task_id)
            code = reloading.result()
        assert code == 0 or cell.agent.keeper_was_killed


SCENARIOS: Mapping[str, tuple[type[Scenario], ...]] = {
    "server.launch.": (Launch,),
    "keeper.spawn.": (Launch,),
    "server.stop.": (Stop,),
    "server.signal.": (Stop,),
    "server.kill.": (Stop,),
    "keeper.kill.": (Stop,),
    "keeper.exit.": (Exit,),
    "server.exit.": (Exit,),
    "server.cleanup.": (CleanUp,),
    "server.restart.": (Restart,),
    "server.delete.": (Delete,),
    "server.recovery.": (Recover, Dial),
    "keeper.reload.": (Reload,),
    "keeper.shim.": (Dial,),
}
"""What leads through a place, by the beginning of its name."""

MORE: Mapping[str, tuple[type[Scenario], ...]] = {
    "keeper.spawn.": (CleanUp, Restart),
    "keeper.exit.": (ExitBeforeItsChild, CleanUp, Restart),
    "server.cleanup.": (CleanUpUnderTheNextKeeper,),
    "server.exit.": (ExitBeforeItsChild,),
    "keeper.shim.": (Reload,),
}
"""Other ways through the same places: slow, by their number."""


def leading_through(place: str, scenarios: Mapping[str, tuple[type[Scenario], ...]]) -> tuple[type[Scenario], ...]:
    """Return the scenarios that lead through a place."""
    return next((found for beginning, found in scenarios.items() if place.startswith(beginning)), ())
