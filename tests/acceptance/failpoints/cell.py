"""One crash: an agent with a failpoint, tasks that leave evidence, and what must be true when all is over."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

import grpc
from support.agent import FINAL, short_directory
from support.audit import audit_lines
from support.crash import CrashAgent, marked
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


@dataclass(frozen=True, kw_only=True)
class Actor:
    """A task of a scenario.

    Attributes:
        ending: how its last attempt must end, if that is not lost.
        waits: its process waits until the agent is back: if it ever ran, its exit must be known.
    """

    task_id: str
    argv: Sequence[str]
    ending: Ending
    waits: bool = False
    cleanup: str = ""
    restart: task_pb2.RestartPolicy | None = None


# They were there before the crash, and notice nothing of it.
ENDED_BEFORE = Actor(task_id="ended-before", argv=shell(ENDS_AT_ONCE), ending=("exit_code", 7, COMPLETED))
STEADY = Actor(task_id="steady", argv=shell(WAITS), ending=("exit_code", 5, COMPLETED), waits=True)


@dataclass
class Cell:
    """A cell of the matrix, while it runs."""

    place: str
    victim: str
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
        spec = self.scene.spec(actor.argv, cleanup=actor.cleanup, restart=actor.restart)
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
            self._check_outcome(self.actors[name], status)
            self._check_evidence(self.actors[name], status)
        self._check_ran_once()
        self._check_audit()
        self.recorder.until_seen(max(status.revision for status in final.values()))
        for status in final.values():
            assert self.recorder.last(status.uid) == status, "the watch missed a final state"
        assert not self.recorder.broken_laws()
        self.agent.check_log()
        self.agent.check_deaths()

    def _check_outcome(self, actor: Actor, status: task_pb2.TaskStatus) -> None:
        outcome = status.outcome
        assert not outcome.survivors
        assert status.state != task_pb2.TASK_STATE_LOST, f"{actor.task_id} is LOST, and no shim was killed: {outcome}"
        kind, value, cause = actor.ending
        if kind == "errno":
            assert status.state == task_pb2.TASK_STATE_FAILED
            assert outcome.launch_failure.error_number == value
        else:
            assert status.state == task_pb2.TASK_STATE_EXITED
            assert (outcome.WhichOneof("ending"), getattr(outcome, kind)) == (kind, value), (
                f"{actor.task_id}: {outcome}"
            )
        assert outcome.cause == cause, f"{actor.task_id}: {outcome}"

    def _check_evidence(self, actor: Actor, status: task_pb2.TaskStatus) -> None:
        """An attempt that exited ran; and so did the cleanup after it."""
        attempts = [(each.number, each.state, each.outcome) for each in status.earlier_attempts]
        attempts.append((status.attempt, status.state, status.outcome))
        started, cleaned = self._runs(self.scene.started()), self._runs(self.scene.cleaned())
        assert [number for number, _, _ in attempts] == list(range(1, status.attempt + 1))
        for number, state, outcome in attempts:
            run = (status.uid, number)
            if state == task_pb2.TASK_STATE_EXITED:
                assert run in started, f"{actor.task_id} exited and never ran"
            assert state != task_pb2.TASK_STATE_LOST, f"attempt {number} of {actor.task_id} is LOST: {outcome}"
            if actor.cleanup:
                assert run in cleaned, f"no cleanup after {actor.task_id}"
                assert outcome.cleanup.WhichOneof("ending") == "exit_code", outcome
                assert outcome.cleanup.exit_code == 6

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


@contextmanager
def cell(place: str = "", victim: str = "self") -> Iterator[Cell]:
    """Start an agent with a failpoint that is held back, and two tasks that are there already."""
    with short_directory() as directory, CrashAgent(directory, place, victim) as agent:
        scene = Scene(directory)
        try:
            with Recorder(agent.stub) as recorder:
                made = Cell(place, victim, agent, scene, recorder)
                made.launch(STEADY, ENDED_BEFORE)
                made.until_started(STEADY)
                made.until_ended(ENDED_BEFORE)
                yield made
        finally:
            scene.close()
