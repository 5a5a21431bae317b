"""One crash: an agent with a failpoint, tasks that leave evidence, and what must be true when all is over."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

import grpc
from support.agent import FINAL, short_directory
from support.audit import audit_lines
from support.crash import CrashAgent, marked, shim_of
from support.evidence import ENDS_AT_ONCE, WAITS, Line, Scene
from support.history import Recorder
from support.tasks import shell
from support.waiting import until

from farspawn.v1 import launcher_pb2 as pb
from farspawn.v1 import task_pb2
from farspawn_core import proc
from farspawn_server.audit import ACCEPTED
from farspawn_server.audit.verify import verify

Ending = tuple[str, int, "task_pb2.Cause.ValueType"]
"""Which field of the outcome is set, its value, and the cause."""

COMPLETED = task_pb2.CAUSE_COMPLETED
STOPPED = task_pb2.CAUSE_STOP_REQUESTED
LOST: Ending = ("", 0, task_pb2.CAUSE_SUPERVISION_LOST)
"""Only for a task whose shim was killed."""
CLEANED_UP = ("exit_code", 6)
CLEANUP_LOST = (None, 0)

_STATES = {
    "exit_code": task_pb2.TASK_STATE_EXITED,
    "signal": task_pb2.TASK_STATE_EXITED,
    "errno": task_pb2.TASK_STATE_FAILED,
    "": task_pb2.TASK_STATE_LOST,
}


@dataclass(frozen=True, kw_only=True)
class Actor:
    """A task of a scenario.

    Attributes:
        endings: how each of its attempts must end.
        cleanup: the script of its cleanup command.
        cleaned_up: how that must end.
    """

    task_id: str
    argv: Sequence[str]
    endings: Sequence[Ending]
    cleanup: str = ""
    cleaned_up: tuple[str | None, int] = CLEANED_UP
    restart: task_pb2.RestartPolicy | None = None
    stop: task_pb2.StopPlan | None = None


# They were there before the crash, and notice nothing of it.
ENDED_BEFORE = Actor(task_id="ended-before", argv=shell(ENDS_AT_ONCE), endings=[("exit_code", 7, COMPLETED)])
STEADY = Actor(task_id="steady", argv=shell(WAITS), endings=[("exit_code", 5, COMPLETED)])


@dataclass
class Cell:
    """A cell of the matrix, while it runs."""

    agent: CrashAgent
    scene: Scene
    recorder: Recorder
    actors: dict[str, Actor] = field(default_factory=dict)
    uids: dict[str, str] = field(default_factory=dict)
    deleted: set[str] = field(default_factory=set)

    # --- what a client does -----------------------------------------------------------------------------------------

    def launch(self, *actors: Actor) -> None:
        """Launch tasks, all at once, each until it is acknowledged."""
        for actor in actors:
            self.actors[actor.task_id] = actor
            for name in (actor.task_id, f"{actor.task_id}.cleanup"):
                self.scene.add_gate(name)
        with ThreadPoolExecutor(len(actors)) as threads:
            list(threads.map(self._launch, actors))

    def _launch(self, actor: Actor) -> None:
        spec = self.scene.spec(actor.argv, cleanup=actor.cleanup, restart=actor.restart, stop=actor.stop)
        request = pb.LaunchTaskRequest(task_id=actor.task_id, spec=spec)
        status = self.recorder.note(self.agent.call(self.agent.stub.LaunchTask, request).task.status)
        self.uids[actor.task_id] = status.uid

    def until_started(self, *actors: Actor, attempt: int = 1) -> None:
        """Wait for the evidence that an attempt runs."""
        for actor in actors:
            until(partial(self._has_started, self.uids[actor.task_id], attempt))

    def stop(self, actor: Actor, plan: task_pb2.StopPlan) -> None:
        """Stop a task."""
        request = pb.StopTaskRequest(task_id=actor.task_id, plan=plan)
        self.recorder.note(self.agent.call(self.agent.stub.StopTask, request).status)

    def delete(self, actor: Actor) -> None:
        """Delete a task; a repeated call finds nothing any more."""
        self.deleted.add(actor.task_id)
        try:
            self.agent.call(self.agent.stub.DeleteTask, pb.DeleteTaskRequest(task_id=actor.task_id))
        except grpc.RpcError as error:
            assert error.code() is grpc.StatusCode.NOT_FOUND  # noqa: PT017  # the message is of no interest

    def shim_of(self, actor: Actor, run: str = "") -> proc.Process:
        """Return the shim of a task's first attempt, or with "/cleanup" that of the cleanup after it."""
        return shim_of(f"{self.uids[actor.task_id]}/1{run}")

    def signal_shim(self, actor: Actor, number: int = signal.SIGKILL, *, run: str = "") -> None:
        """Signal it."""
        assert proc.send(self.shim_of(actor, run), number)

    def until_ended(self, *actors: Actor) -> None:
        """Wait until tasks have ended."""
        for actor in actors:
            until(partial(self._has_ended, actor.task_id), every=0.02)

    def _has_started(self, uid: str, attempt: int) -> bool:
        return (uid, attempt) in self._runs(self.scene.started())

    def _has_ended(self, task_id: str) -> bool:
        return self.poll(task_id).state in FINAL

    def poll(self, task_id: str) -> task_pb2.TaskStatus:
        """Return how a task is."""
        reply = self.agent.call(self.agent.stub.Poll, pb.PollRequest(task_ids=[task_id]))
        assert not reply.unknown_task_ids, f"{task_id} is lost"
        return self.recorder.note(reply.statuses[0])

    # --- what must be true ------------------------------------------------------------------------------------------

    def check_living(self) -> None:
        """Every process belongs to a task that lives."""
        for process in marked(self.agent.directory):
            if (uid := proc.environment_value(process.pid, "FARSPAWN_TASK_UID")) is None:
                continue  # it has ended since
            task_id = next((name for name, known in self.uids.items() if known == uid), None)
            assert task_id is not None, f"{process} belongs to no task"
            if self.poll(task_id).state in FINAL:
                now = proc.read(process.pid)
                assert now is None or now.key != process.key or not now.alive, f"{process} outlives {task_id}"

    def check_ended(self) -> None:
        """Everything that must be true when all tasks have ended."""
        site = self.agent.call(self.agent.stub.ListTasks, pb.ListTasksRequest(page_size=1000))
        final = {task.status.task_id: self.recorder.note(task.status) for task in site.tasks}
        assert not marked(self.agent.directory), "processes without a task"
        assert {name: status.uid for name, status in final.items()} == {
            name: uid for name, uid in self.uids.items() if name not in self.deleted
        }
        for name, status in final.items():
            self._check_endings(self.actors[name], status)
        self._check_ran_once()
        self._check_audit()
        self.recorder.until_seen(max(status.revision for status in final.values()))
        for status in final.values():
            assert self.recorder.last(status.uid) == status, "the watch missed a final state"
        assert not self.recorder.broken_laws()
        self.agent.check_log()
        self.agent.check_deaths()

    def _check_endings(self, actor: Actor, status: task_pb2.TaskStatus) -> None:
        """Each attempt ended as it had to; and it, and the cleanup after it, left evidence."""
        attempts = [(each.number, each.state, each.outcome) for each in status.earlier_attempts]
        attempts.append((status.attempt, status.state, status.outcome))
        assert [number for number, _, _ in attempts] == list(range(1, len(actor.endings) + 1)), status
        started, cleaned = self._runs(self.scene.started()), self._runs(self.scene.cleaned())
        for (number, state, outcome), ending in zip(attempts, actor.endings, strict=True):
            assert (state, _ending(outcome)) == (_STATES[ending[0]], ending), f"{actor.task_id}: {status}"
            assert not outcome.survivors
            run = (status.uid, number)
            if state == task_pb2.TASK_STATE_EXITED:
                assert run in started, f"{actor.task_id} exited and never ran"
            if actor.cleanup:
                assert run in cleaned, f"no cleanup after {actor.task_id}"
                how = outcome.cleanup.WhichOneof("ending"), outcome.cleanup.exit_code
                assert how == actor.cleaned_up, f"{actor.task_id}: {status}"

    def _check_ran_once(self) -> None:
        for lines in (self.scene.started(), self.scene.cleaned()):
            runs = [(line.uid, line.attempt) for line in lines]
            assert len(set(runs)) == len(runs), f"started twice: {lines}"
            assert {uid for uid, _ in runs} <= set(self.uids.values())

    def _check_audit(self) -> None:
        """The chain is whole, and nothing ran that is not on record."""
        folder = self.agent.state / "audit"
        verify(folder)
        recorded = {line["uid"] for line in audit_lines(folder) if line["outcome"] == ACCEPTED}
        ran = {line.uid for line in (*self.scene.started(), *self.scene.cleaned())}
        assert {*ran, *self.uids.values()} <= recorded

    def _runs(self, lines: Sequence[Line]) -> set[tuple[str, int]]:
        return {(line.uid, line.attempt) for line in lines}


def _ending(outcome: task_pb2.Outcome) -> Ending:
    if outcome.HasField("launch_failure"):
        return "errno", outcome.launch_failure.error_number, outcome.cause
    how = outcome.WhichOneof("ending")
    return how or "", outcome.signal if how == "signal" else outcome.exit_code, outcome.cause


@contextmanager
def cell(place: str = "", victim: str = "self") -> Iterator[Cell]:
    """Start an agent with a failpoint that is held back, and two tasks that are there already."""
    with short_directory() as directory, CrashAgent(directory, place, victim) as agent:
        scene = Scene(directory)
        try:
            with Recorder(agent.stub) as recorder:
                made = Cell(agent, scene, recorder)
                made.launch(STEADY, ENDED_BEFORE)
                made.until_started(STEADY)
                made.until_ended(ENDED_BEFORE)
                yield made
        finally:
            scene.close()
