"""The table of runs: start a shim for each, route what it and the server say, and say what ended.

Nothing is remembered that the kernel or a shim does not tell again: a keeper begins with an empty table, and shims dial
in. A run stays in the table until the server says that its end is stored and its shim has gone.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import selectors
import signal
import socket
import time
from collections.abc import Callable

from farspawn_core import failpoint, proc, shim
from farspawn_core.errors import Phase
from farspawn_server.keeper import runfile
from farspawn_server.keeper.asks import Ask, Asks
from farspawn_server.keeper.fallen import Fallen
from farspawn_server.keeper.journal import note
from farspawn_server.keeper.memory import OomWatch, group_to_watch
from farspawn_server.keeper.messages import (
    Answer,
    Failure,
    Holding,
    InputTaken,
    Members,
    Message,
    Signal,
    Spawn,
    Write,
)
from farspawn_server.keeper.run import Run
from farspawn_server.keeper.runfile import Evidence
from farspawn_server.keeper.starting import Starter

_LOOK_AFTER = 0.1
_BESIDE_A_LOOK = 10  # times as long as it took: thousands that are about to dial are not to wait for it
_CONTINUE_AFTER = 5.0


class Shims:
    """Belongs to the keeper's loop. Nothing here waits."""

    def __init__(
        self,
        selector: selectors.BaseSelector,
        starter: Starter,
        tell: Callable[[Message], None],
        is_server: Callable[[int], bool],
        bystanders: set[int] | None,
    ) -> None:
        """Begin with an empty table.

        Args:
            selector: calls us when a shim says something.
            starter: starts shims.
            tell: is given what the server is to hear.
            is_server: whether a child of ours is the server.
            bystanders: children that this process had before it was a keeper; None: it becomes one now.
        """
        self._selector = selector
        self._starter = starter
        self._tell = tell
        self._asks = Asks()
        self._runs: dict[str, Run] = {}
        self._children: dict[int, Run] = {}  # by the pids of their shims
        self._foreign: set[Run] = set()  # whose shims live and are not our children
        self._distant: set[Run] = set()  # those of them that are not connected: only their files tell of them
        # Shims that the last image of this process started, until they dial in.
        self._heirs = set[int]()
        self.bystanders = set(bystanders or ())
        for child in filter(None, map(proc.read, proc.children(os.getpid()))):
            if bystanders is None:
                self.bystanders.add(child.pid)
            elif child.name == shim.NAME:
                self._heirs.add(child.pid)
        self._fallen = Fallen(
            lambda pid: pid in self._children or pid in self._heirs or pid in self.bystanders or is_server(pid)
        )
        if bystanders is not None:
            self._fallen.begin()
        self._memory = OomWatch(group_to_watch(starter.home))
        self._kill_everybody = False
        self._look_at = self._continue_at = 0.0

    @property
    def empty(self) -> bool:
        """Nothing of any run lives, but for survivors that the server has written off."""
        return not any(run.alive and not (run.forgotten and run.ended) for run in self._runs.values())

    @property
    def settled(self) -> bool:
        """Nothing is being ended for a shim that is dead: what is our child is a shim."""
        return self._fallen.pending() is None

    @property
    def linked(self) -> bool:
        """A shim of which nothing lives still listens to us."""
        return any(run.link is not None and not run.alive for run in self._runs.values())

    def holdings(self) -> list[Holding]:
        """Return all that is known of every run, but for those whose ends are stored."""
        return [run.holding() for run in self._runs.values() if not run.forgotten and not self._is_awaited(run)]

    def start(self, order: Spawn) -> None:
        """Start a run, unless anybody ever did; then tell what is known of it, or wait for its shim."""
        if (run := self._runs.get(order.uid)) is not None:
            if not self._is_awaited(run):
                self._say(run, again=True)
            return
        failpoint.reach("keeper.spawn.ordered")
        evidence, holder = runfile.look(order.uid)
        if evidence is Evidence.UNHELD and not runfile.discard(order.uid):
            evidence, holder = runfile.look(order.uid)
        run = Run(order.uid, killing=self._kill_everybody)
        match evidence:
            case Evidence.HELD:
                run.group = self._starter.group(order.uid)
                self._identify(run, holder)
            case Evidence.LEFT:
                run.group = self._starter.group(order.uid)
                run.dead, run.head = True, runfile.head(run.uid)
                self._fallen.begin(run)
            case Evidence.NONE | Evidence.UNHELD:
                started = self._starter.start(order)
                if isinstance(started, Failure):
                    run.failure = started
                else:
                    run.pid, run.child, run.group = started.pid, True, started.group
                    self._children[run.pid] = run
                    self._connect(run, started.link)
        self._runs[order.uid] = run
        if run.failure is not None:
            self._say(run)

    def admit(self, link: socket.socket, pid: int, hello: shim.Hello) -> bool:
        """Take the connection of a shim that has proven to be one; return whether it is wanted."""
        run = self._runs.get(hello.run)
        if run is None:
            run = Run(hello.run, group=self._starter.group(hello.run), killing=self._kill_everybody)
        elif run.dead or run.failure is not None or run.pid not in (0, pid):
            return False
        failpoint.reach("keeper.shim.dialled")
        self._runs[hello.run] = run
        self._identify(run, pid)
        self._hang_up(run)
        self._connect(run, link)
        if hello.report.stage is not shim.Stage.FAILED:  # the file is in no hello: a report of it follows
            self._note(run, hello.report)
        return True

    def signal(self, order: Signal) -> None:
        """Signal a run's leader or all of it; the answer comes later."""
        number = self._asks.add(order.sequence, order.uid)
        if not self._send(order.uid, shim.signal(number, order.number, tree=order.tree)):
            self._asks.take(number, order.uid)
            self._tell(Answer(order.sequence))

    def members(self, order: Members) -> None:
        """Ask who lives; the answer comes later."""
        number = self._asks.add(order.sequence, order.uid)
        if not self._send(order.uid, shim.members(number)):
            self._asks.take(number, order.uid)
            self._tell(Answer(order.sequence))

    def write(self, order: Write) -> None:
        """Write to the input; the answer comes when the pipe has taken it."""
        run = self._runs.get(order.uid)
        if run is None or run.dead or run.failure is not None:
            self._tell(InputTaken(order.sequence, 0, closed=True))
            return
        number = self._asks.add(order.sequence, order.uid, patient=True)
        self._owe(run, "write", shim.write(number, order.offset, order.bytes(), end=order.end))

    def kill(self, uid: str) -> None:
        """Begin to kill a run: its shim goes on until nothing is left."""
        run = self._runs.get(uid)
        if run is not None and not run.killing:
            run.killing = True
            self._owe(run, "kill", shim.kill())
            failpoint.reach("keeper.kill.ordered")

    def kill_all(self) -> None:
        """Begin to kill every run, those included whose shims have yet to dial."""
        self._kill_everybody = True
        for run in list(self._runs.values()):
            run.shut_down |= not run.ended
            self.kill(run.uid)

    def forget(self, uid: str) -> None:
        """Have the shim end when nothing lives: what it holds is stored."""
        run = self._runs.get(uid)
        if run is None:
            return
        run.forgotten = True
        if run.dead or run.failure is not None:
            self._drop_if_over(run)
        else:
            self._owe(run, "forget", shim.forget())

    def dismiss(self) -> None:
        """Forget everything: nobody is left who could store it."""
        for uid in list(self._runs):
            self.forget(uid)

    def look_at_memory(self) -> None:
        """Look whether the kernel has killed somebody for want of memory; to be called about once a second."""
        self._memory.look()

    def nobody_asks(self) -> None:
        """The server is gone, and with it whoever waits for answers."""
        self._asks.clear()

    def close(self) -> None:
        """Leave no group of ours behind. Nothing of any run lives."""
        for run in list(self._runs.values()):
            self._drop(run)
        if self._starter.home is not None:
            with contextlib.suppress(OSError):  # another agent has groups there too
                self._starter.home.path.rmdir()

    def child_ended(self, pid: int) -> None:
        """Take in that a child of ours, which is not the server, has ended and was reaped."""
        run = self._children.pop(pid, None)
        if run is not None:
            self._shim_ended(run)
        elif pid in self._heirs:
            self._heirs.discard(pid)
            self._fallen.begin()
        else:
            self.bystanders.discard(pid)

    def child_stopped(self, pid: int) -> None:
        """Continue a shim that somebody has stopped."""
        if pid in self._children or pid in self._heirs:
            _continue(pid)

    def pending(self) -> float | None:
        """Return in how many seconds `go_on` has something to do."""
        spans = [self._asks.pending(), self._fallen.pending()]
        now = time.monotonic()
        if self._distant:
            spans.append(max(0.0, self._look_at - now))
        if self._foreign:
            spans.append(max(0.0, self._continue_at - now))
        return min((span for span in spans if span is not None), default=None)

    def go_on(self) -> None:
        """Do what is due: questions nobody answers, shims that do not come back, what has fallen."""
        now = time.monotonic()
        for ask in self._asks.overdue():
            self._tell(Answer(ask.sequence))
        if now >= self._look_at:
            for run in list(self._distant):
                self._look(run)
            looked = time.monotonic()
            self._look_at = looked + max(_LOOK_AFTER, _BESIDE_A_LOOK * (looked - now))
        if now >= self._continue_at:
            self._continue_at = now + _CONTINUE_AFTER
            for run in self._foreign:
                _continue(run.pid)
        for run in self._fallen.go_on():
            self._say(run)
            self._drop_if_over(run)

    def _is_awaited(self, run: Run) -> bool:
        """Whether we know nothing yet but that its shim lives."""
        return not run.child and run.report is None and not run.dead and run.failure is None

    def _identify(self, run: Run, pid: int) -> None:
        """Take in whose process the shim of a run is that we have not started."""
        process = proc.read(pid)
        run.pid, run.child = pid, process is not None and process.parent == os.getpid()
        if run.child:
            self._heirs.discard(pid)
            self._children[pid] = run
            self._foreign.discard(run)
        else:
            self._foreign.add(run)
        self._note_distance(run)

    def _note_distance(self, run: Run) -> None:
        if run.link is None and run in self._foreign:
            self._distant.add(run)
        else:
            self._distant.discard(run)

    def _look(self, run: Run) -> None:
        evidence, holder = runfile.look(run.uid)
        if evidence is not Evidence.HELD:
            self._shim_ended(run)
            return
        if holder != run.pid:
            self._identify(run, holder)
        _continue(holder)  # one that is stopped does not dial

    def _connect(self, run: Run, link: socket.socket) -> None:
        run.link = link
        self._note_distance(run)
        self._selector.register(link, selectors.EVENT_READ, functools.partial(self._exchange, run))
        if run.killing:
            run.due["kill"] = shim.kill()
        if run.forgotten:
            run.due["forget"] = shim.forget()
        self._flush(run)

    def _hang_up(self, run: Run) -> None:
        if run.link is not None:
            self._selector.unregister(run.link)
            run.link.close()
            run.link = None
            self._note_distance(run)

    def _send(self, uid: str, message: bytes) -> bool:
        """Send at once, or not at all: return whether the shim will hear it."""
        run = self._runs.get(uid)
        if run is None or run.link is None:
            return False
        self._wake(run)
        try:
            run.link.send(message, socket.MSG_NOSIGNAL)
        except OSError:
            return False  # it takes nothing, or is dead
        return True

    def _owe(self, run: Run, kind: str, message: bytes) -> None:
        """Send now, or as soon as the shim takes it: also over the next connection."""
        run.due[kind] = message
        self._wake(run)
        self._flush(run)

    def _flush(self, run: Run) -> None:
        if run.link is None:
            return
        with contextlib.suppress(OSError):  # it takes nothing now; or it is dead, and its end of the socket will say so
            for kind in list(run.due):
                run.link.send(run.due[kind], socket.MSG_NOSIGNAL)
                del run.due[kind]
        interest = selectors.EVENT_READ | (selectors.EVENT_WRITE if run.due else 0)
        if interest != self._selector.get_key(run.link).events:
            self._selector.modify(run.link, interest, self._selector.get_key(run.link).data)

    def _wake(self, run: Run) -> None:
        if run in self._foreign:
            _continue(run.pid)  # of one that is our child the kernel tells us when it is stopped

    def _exchange(self, run: Run, events: int) -> None:
        if run.link is not None and events & selectors.EVENT_WRITE:
            self._flush(run)
        if events & selectors.EVENT_READ:
            self._hear(run)

    def _hear(self, run: Run) -> bool:
        """Take in one message; return whether there may be another."""
        if run.link is None:
            return False
        try:
            data = run.link.recv(shim.MESSAGE_BYTES)
        except ConnectionResetError:
            return True  # it has ended without reading all; what it had said comes after this
        except OSError:
            return False
        try:
            message = shim.decode(data) if data else None
        except shim.GarbledError as error:
            note("shim not understood", run=run.uid, error=str(error))
            data, message = b"", None
        if not data:
            self._hang_up(run)
            return False
        match message:
            case shim.Report():
                self._note(run, message)
            case shim.Answer(number, reached) if (sequence := self._asks.take(number, run.uid)) is not None:
                self._tell(Answer(sequence, reached))
            case shim.Members(number, total, members) if (sequence := self._asks.take(number, run.uid)) is not None:
                self._tell(Answer(sequence, total, [(each.pid, each.name, each.state, each.error) for each in members]))
            case shim.Taken(number, closed, offset) if (sequence := self._asks.take(number, run.uid)) is not None:
                self._tell(InputTaken(sequence, offset, closed=closed))
            case _:
                pass  # nobody waits for it, or only newer keepers know it
        return True

    def _note(self, run: Run, report: shim.Report) -> None:
        """Take in a report and tell what is new."""
        settled = run.report is not None and run.report.stage is not shim.Stage.STARTING
        ended = run.take(report)
        if ended:
            run.out_of_memory = self._memory.verdict(
                run.group, status=report.status, struck=report.struck, at=report.ended_at
            )
            failpoint.reach("keeper.exit.heard")
        self._say(run)
        if not settled and report.stage is not shim.Stage.STARTING:
            failpoint.reach("keeper.spawn.told")
        if ended:
            failpoint.reach("keeper.exit.told")

    def _shim_ended(self, run: Run) -> None:
        """Take in that a shim is dead: by FORGET, killed, or because another one had the run already."""
        while self._hear(run):
            pass  # what it said last
        self._foreign.discard(run)
        self._hang_up(run)
        self._note_distance(run)
        if run.report is None:
            evidence, holder = runfile.look(run.uid)
            if evidence is Evidence.HELD:
                self._identify(run, holder)  # an earlier keeper's: it was slower than that keeper's death
                return
            if evidence is not Evidence.LEFT and runfile.discard(run.uid):
                run.failure = Failure(errno.EAGAIN, Phase.SPAWN.value, shim.NAME)
        run.due.clear()
        for ask in self._asks.give_up(run.uid):
            self._refuse(ask)
        run.dead, run.head = True, runfile.head(run.uid)
        if run.failure is None and (run.report is None or run.report.alive):
            note("shim killed", run=run.uid, pid=run.pid)
            self._fallen.begin(run)
        self._say(run)
        self._drop_if_over(run)

    def _refuse(self, ask: Ask) -> None:
        if ask.deadline is None:
            self._tell(InputTaken(ask.sequence, 0, closed=True))
        else:
            self._tell(Answer(ask.sequence))

    def _say(self, run: Run, *, again: bool = False) -> None:
        """Tell the server of a run, if there is anything new."""
        holding = run.holding()
        if not run.forgotten and (again or holding != run.told):
            run.told = holding
            self._tell(holding)

    def _drop_if_over(self, run: Run) -> None:
        if run.forgotten and not run.alive and (run.dead or run.failure is not None):
            self._drop(run)

    def _drop(self, run: Run) -> None:
        self._hang_up(run)
        self._runs.pop(run.uid, None)
        if run.group is not None:
            run.group.remove()


def _continue(pid: int) -> None:
    with contextlib.suppress(OSError):
        os.kill(pid, signal.SIGCONT)
