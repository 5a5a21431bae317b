"""Federated averaging over two sites, then a stop that means it. `make demo` runs this.

Two agents run here, each with its own state directory, as if they were two hospitals. Each round launches one training
task per site, follows both, reads their logs, and averages the weights that they leave. Afterwards a task that refuses
to end is ended. Nothing of all this is left when the program ends, however it ends.

farspawn carries programs, signals, logs and exits, not tensors: between real sites, weights travel over a data channel
of the application's own. Here a directory that everybody can reach stands for that channel.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.live import Live
from rich.table import Table
from sklearn.datasets import load_digits

import farspawn
from farspawn_core import ProcessAdapter, spawn_process

ROUNDS = 8
STRANGERS = 0.05  # how many of a site's images show a digit that is rare there
HERE = Path(__file__).resolve().parent

ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
STOP = farspawn.StopPlan(grace=timedelta(seconds=1))
# If this program dies, nobody renews the leases, and the sites end what it has left there.
LEASE = farspawn.Lease(ttl=timedelta(seconds=30))

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]

console = Console()


class DemoFailedError(Exception):
    """Something did not go as this demonstration says it does."""


@dataclass(frozen=True)
class Data:
    """Pictures of digits, a row each, and what they show."""

    images: Floats
    labels: Labels

    def where(self, chosen: NDArray[np.bool_]) -> Data:
        """Return some of them."""
        return Data(self.images[chosen], self.labels[chosen])

    def accuracy(self, weights: Floats) -> float:
        """Return how many of them a model tells right, from 0 to 1."""
        return float(((self.images @ weights).argmax(axis=1) == self.labels).mean())


@dataclass(frozen=True)
class Site:
    """A site that we drive, and the file with the images that never leave it."""

    name: str
    client: farspawn.AsyncClient
    shard: Path
    size: int


@dataclass(frozen=True)
class Trained:
    """What became of one task."""

    site: Site
    status: farspawn.TaskStatus
    loss: float
    weights: Floats


async def main() -> None:
    """Start two sites, train with them, stop what does not want to be stopped."""
    begun = time.monotonic()
    clean_up_on(signal.SIGTERM, signal.SIGHUP)
    train, test = load_data()
    low = (train.labels < 5) ^ (np.random.default_rng(0).random(len(train.labels)) < STRANGERS)
    async with AsyncExitStack() as cleanup:
        directory = Path(cleanup.enter_context(tempfile.TemporaryDirectory(prefix="farspawn-demo-")))
        north = await cleanup.enter_async_context(running_site("north", train.where(low), directory))
        south = await cleanup.enter_async_context(running_site("south", train.where(~low), directory))
        console.print(f"Two sites are up. [b]north[/b] has {north.size} images, mostly of the digits 0 to 4,")
        console.print(f"[b]south[/b] {south.size}, mostly of 5 to 9; {len(test.labels)} others are for the test.")
        await federated_averaging([north, south], test, channel=directory)
        await stop_what_refuses(south)
    console.print(f"Agents ended, directory removed: {time.monotonic() - begun:.1f} s in all.")


def clean_up_on(*signals: signal.Signals) -> None:
    """Take these signals as asyncio takes Ctrl-C: what is under way is cancelled, and cleans up after itself."""
    task = asyncio.current_task()
    assert task is not None
    for number in signals:
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)


def load_data() -> tuple[Data, Data]:
    """Return images to train with and images to test with, of the set that scikit-learn ships."""
    digits = load_digits()
    intercept = np.ones((len(digits.target), 1))
    everything = Data(np.hstack([digits.data / 16, intercept]), digits.target)
    for_test = np.arange(len(digits.target)) % 5 == 0
    return everything.where(~for_test), everything.where(for_test)


# --- the sites ---------------------------------------------------------------------------------------------------


@asynccontextmanager
async def running_site(name: str, data: Data, directory: Path) -> AsyncIterator[Site]:
    """Run an agent on its own data, as an administrator would; end it when the block is left."""
    state = directory / name
    state.mkdir(mode=0o700)
    shard = state / "shard.npz"
    np.savez(shard, images=data.images, labels=data.labels)
    agent = start_agent(state, name)
    try:
        async with farspawn.AsyncClient(f"unix:{state}/farspawnd.sock") as client:
            while not await serves(client):
                if agent.poll() is not None:
                    raise DemoFailedError((state / "agent.log").read_text())
            yield Site(name, client, shard, len(data.labels))
    finally:
        agent.send_signal(signal.SIGTERM)  # it stops its tasks and ends
        try:
            agent.wait(timeout=15)
        finally:
            agent.kill()  # nothing to do by now; if there is, everything below the agent goes with it


def start_agent(state: Path, name: str) -> ProcessAdapter:
    """Start `farspawnd` in a session of its own, out of the reach of our terminal's Ctrl-C."""
    farspawnd = str(Path(sys.executable).with_name("farspawnd"))
    env = {key: value for key, value in os.environ.items() if not key.startswith("FARSPAWN")}
    with (state / "agent.log").open("w") as log, Path(os.devnull).open() as null:
        streams = (null.fileno(), log.fileno(), log.fileno())
        return spawn_process([farspawnd, "--state", str(state), "--name", name], env, descriptors=streams)


async def serves(client: farspawn.AsyncClient) -> bool:
    """Ask, for a second or two, whether a site takes tasks."""
    try:
        return (await client.site()).state is farspawn.SiteState.SERVING
    except (farspawn.SiteUnreachableError, farspawn.SiteUnavailableError):
        return False


# --- the rounds --------------------------------------------------------------------------------------------------


async def federated_averaging(sites: Sequence[Site], test: Data, channel: Path) -> None:
    """Train for some rounds and show how it goes."""
    weights = np.zeros((65, 10))
    accuracies = [test.accuracy(weights)]
    table = Table("round", "site", "state", "exit", "seconds", "loss", "alone", "averaged")
    with Live(table, console=console):
        for number in range(1, ROUNDS + 1):
            np.save(channel / f"round-{number}.npy", weights)
            # Each waits in a Poll of its own site, both at the same time.
            tasks = await asyncio.gather(*(train(each, number, channel) for each in sites))
            weights = np.average([each.weights for each in tasks], axis=0, weights=[each.site.size for each in tasks])
            accuracies.append(test.accuracy(weights))
            for each in tasks:
                averaged = f"{accuracies[-1]:.1%}" if each is tasks[-1] else ""
                table.add_row(*described(number, each, test), averaged, end_section=each is tasks[-1])
    console.print()
    if not accuracies[0] < accuracies[1] < accuracies[-1]:
        raise DemoFailedError(f"the test accuracy did not rise: {accuracies}")
    console.print(f"Test accuracy rose from {accuracies[0]:.1%} to {accuracies[-1]:.1%}.\n")


async def train(site: Site, number: int, channel: Path) -> Trained:
    """Have a site train for one round."""
    task_id = f"round-{number}"
    trained = channel / f"{task_id}-{site.name}.npy"
    await site.client.launch(
        [
            *(sys.executable, str(HERE / "trainer.py")),
            *("--shard", str(site.shard), "--weights", str(channel / f"{task_id}.npy")),
            *("--save", str(trained), "--seed", str(number)),
        ],
        task_id=task_id,  # were the answer lost and the call repeated, the site would still start it once
        env=ONE_THREAD,
        max_runtime=timedelta(minutes=1),
        lease=LEASE,
        stop=STOP,
    )
    # One Poll at a time, which the site answers when something has changed, for all tasks that the round has there:
    # here one, with hundreds it would be the same call.
    ended = await site.client.wait_all([task_id], renew_every=LEASE.ttl / 3)
    status = ended[task_id]
    if status.outcome is None or status.outcome.exit_code != 0:
        complaint = await output(site.client.read_logs(task_id, farspawn.LogStream.STDERR))
        raise DemoFailedError(f"{task_id} at {site.name}: {status.state.name}, {status.outcome}\n{complaint}")
    last_line = await output(site.client.read_logs(task_id, tail_lines=1))
    return Trained(site, status, loss=float(last_line.split()[-1]), weights=np.load(trained))


async def output(log: farspawn.AsyncLogReader) -> str:
    """Return all that a log holds."""
    return b"".join([chunk.data async for chunk in log]).decode(errors="replace")


def described(number: int, task: Trained, test: Data) -> list[str]:
    """Return the cells of a task's row."""
    outcome, times = task.status.outcome, task.status.times
    assert outcome is not None
    return [
        str(number),
        task.site.name,
        task.status.state.name,
        str(outcome.returncode),
        f"{seconds(times.started, times.ended):.2f}",
        f"{task.loss:.3f}",
        f"{test.accuracy(task.weights):.1%}",
    ]


def seconds(begin: datetime | None, end: datetime | None) -> float:
    """Return the span between two phases that an ended task has been through."""
    assert begin is not None
    assert end is not None
    return (end - begin).total_seconds()


# --- the stop ----------------------------------------------------------------------------------------------------


async def stop_what_refuses(site: Site) -> None:
    """Stop a task that ignores SIGTERM and has set a process free, and look for what is left."""
    command = [sys.executable, str(HERE / "stubborn.py")]
    task = await site.client.launch(command, task_id="stubborn", lease=LEASE, stop=STOP)
    console.print("A task that ignores SIGTERM, with a detached grandchild that does too:")
    async with aclosing(task.logs(follow=True).lines()) as lines:
        for _ in range(2):
            console.print("  ", (await anext(lines)).data.decode().strip(), sep="", markup=False)
    before = processes_of(task)
    told = await task.stop()
    returncode = await task.wait()
    after = processes_of(task)
    status, outcome = task.status, task.outcome
    assert status is not None
    assert outcome is not None
    span = seconds(status.times.stop_requested, status.times.ended)
    console.print(f"StopTask answers {told.state.name} at once. After SIGTERM, a grace of 1 s and SIGKILL:")
    console.print(f"  {status.state.name} after {span:.1f} s, return code {returncode}, cause {outcome.cause.name}")
    console.print(f"  processes with its FARSPAWN_TASK_UID in /proc: {len(before)} before, {len(after)} now\n")
    if len(before) != 2 or after or outcome.survivors:
        raise DemoFailedError(f"processes before the stop: {before}, after it: {after}, told: {outcome.survivors}")


def processes_of(task: farspawn.AsyncProcess) -> list[int]:
    """Return the pids of all processes that carry a task's uid in their environment, wherever they have gone."""
    assert task.status is not None
    cookie = f"FARSPAWN_TASK_UID={task.status.uid}".encode()
    found: list[int] = []
    for process in Path("/proc").iterdir():
        with suppress(OSError):  # no process, gone meanwhile, or somebody else's
            if process.name.isdecimal() and cookie in (process / "environ").read_bytes().split(b"\0"):
                found.append(int(process.name))
    return found


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except (KeyboardInterrupt, asyncio.CancelledError):
        print("\nInterrupted. Agents ended, directory removed.", file=sys.stderr)
        sys.exit(128 + signal.SIGINT)
    except (DemoFailedError, farspawn.FarspawnError, TimeoutError) as error:
        sys.exit(f"The demonstration failed: {error}")
