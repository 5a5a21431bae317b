"""`farspawnd reload` under a load of short tasks: no exit is lost, nothing runs twice."""

from __future__ import annotations

import fcntl
import threading
from concurrent.futures import ThreadPoolExecutor

from acceptance.failpoints.cell import cell
from support.agent import FINAL, short_directory
from support.command import farspawnd_says
from support.evidence import SAYS_SO
from support.tasks import shell
from support.waiting import until

from farspawn.v1 import launcher_pb2 as pb
from farspawn.v1 import task_pb2

RELOADS = 3
IN_FLIGHT = 4


def test_no_exit_is_lost_while_the_agent_renews_itself() -> None:
    with cell() as site:
        over = threading.Event()
        codes: dict[str, int] = {}

        def load(worker: int) -> None:
            number = 0
            while not over.is_set():
                task_id, code = f"w{worker}-{number}", number % 256
                spec = site.scene.spec(shell(f"{SAYS_SO}exit {code}"))
                site.agent.call(site.agent.stub.LaunchTask, pb.LaunchTaskRequest(task_id=task_id, spec=spec))
                codes[task_id] = code
                number += 1

        with ThreadPoolExecutor(IN_FLIGHT) as threads:
            workers = [threads.submit(load, worker) for worker in range(IN_FLIGHT)]
            try:
                reloads = [site.agent.reload() for _ in range(RELOADS)]
            finally:
                over.set()
            for worker in workers:
                worker.result()
        until(lambda: all(site.poll(task_id).state in FINAL for task_id in codes), every=0.1)

        ends = {task_id: site.poll(task_id) for task_id in codes}
        runs = [line.uid for line in site.scene.started()]
        assert reloads == [0] * RELOADS
        assert {task_id: end.outcome.exit_code for task_id, end in ends.items()} == codes
        assert {(end.state, end.outcome.WhichOneof("ending"), end.outcome.cause) for end in ends.values()} == {
            (task_pb2.TASK_STATE_EXITED, "exit_code", task_pb2.CAUSE_COMPLETED)
        }
        assert len(runs) == len(set(runs)) == len(codes) + 2
        assert not site.agent.deaths
        assert not site.recorder.broken_laws()
        site.agent.check_log()


def test_an_agent_whose_tasks_have_no_shims_is_not_renewed() -> None:
    """Version 0.1: its tasks are children that the next image would know nothing of. Here its lock is imitated."""
    with short_directory() as directory:
        (directory / "keeper.lock").write_text("12345 0\n")
        with (directory / "keeper.lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            said = farspawnd_says("--state", str(directory), "reload")

    assert said.code == 1
    assert "older than the tasks' shims" in said.stderr
