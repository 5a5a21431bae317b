"""Another client, which launches and polls while an agent is attacked: all its calls must be answered."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from farspawn.v1 import launcher_pb2 as pb
from support.agent import Agent
from support.tasks import launch
from support.waiting import PATIENCE, until

_TURNS = 5


class Bystander:
    """Launches and polls in a thread until it is told to end, or a call fails."""

    def __init__(self, agent: Agent) -> None:
        self.turns = 0
        self.failure: Exception | None = None
        self._stub = agent.stub
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def served(self) -> None:
        """Wait until it has launched and polled some more times. Fails if a call of it has."""
        enough = self.turns + _TURNS
        until(lambda: self.turns >= enough or self.failure)
        assert self.failure is None, self.failure

    def end(self) -> None:
        self._ending.set()
        self._thread.join()

    def _run(self) -> None:
        try:
            while not self._ending.wait(0.05):
                task = launch(self._stub, ["true"])
                self._stub.Poll(pb.PollRequest(task_ids=[task.status.task_id]), timeout=PATIENCE)
                self.turns += 1
        except Exception as failure:  # noqa: BLE001  # told in the thread of the test
            self.failure = failure


@contextmanager
def bystander(agent: Agent) -> Iterator[Bystander]:
    """Have another client at work. Fails if one of its calls was not answered, or none was."""
    other = Bystander(agent)
    try:
        other.served()
        yield other
        other.served()
    finally:
        other.end()
    assert other.failure is None, other.failure


def resident_mib(pid: int) -> float:
    """Return how much memory a process has by now."""
    words = Path(f"/proc/{pid}/status").read_text(encoding="ascii").split()
    return int(words[words.index("VmRSS:") + 1]) / 1024
