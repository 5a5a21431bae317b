"""The table of runs: start a shim for each, route what it and the server say, and say what ended.

Nothing is remembered that the kernel or a shim does not tell again: a keeper begins with an empty table, and shims dial
in. A run stays in the table until the server says that its end is stored and its shim has gone.

What becomes of a run of which neither a child of ours nor a connection tells is found out in one place, `_settle`,
again and again until it is known: so whatever fails about one run costs that run some time, and nobody else anything.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import socket
import time
from collections.abc import Callable, Iterable

from farspawn_core import failpoint, proc, shim
from farspawn_core.errors import STARVATION, Phase
from farspawn_server.keeper import runfile
from farspawn_server.keeper.fallen import Fallen
from farspawn_server.keeper.journal import note
from farspawn_server.keeper.memory import OomWatch, group_to_watch
from farspawn_server.keeper.messages import (
    Failure,
    Holding,
    InputTaken,
    Members,
    Message,
    Signal,
    Spawn,
    Write,
)
from farspawn_server.keeper.poll import Poll
from farspawn_server.keeper.run import Run
from farspawn_server.keeper.runfile import Evidence
from farspawn_server.keeper.starting import Starter
from farspawn_server.keeper.talk import Talk, dismiss, keep_going

_LOOK_AFTER = 0.1
_LOOK_SECONDS = 0.0002  # ten times what one look takes
_LOOKS_A_TURN = 256
_CONTINUE_AFTER = 5.0
_DIALLED_WITHIN = 0.75  # a shim dials at least twice a second


class Shims:
    """Belongs to the keeper's loop. Nothing here waits."""

    def __init__(
        self,
        poll: Poll,
        starter: Starter,
        tell: Callable[[Message], None],
        is_server: Callable[[int], bool],
        *,
        bystanders: Iterable[int],
        heirs: Iterable[int],
        alone: bool,
    ) -> None:
        """Begin with an empty table.

        Args:
            poll: calls us when a shim says something.
            starter: starts shims.
            tell: is given what the server is to hear.
            is_server: whether a child of ours is the server.
            bystanders: children of ours that are none of our business.
            heirs: shims that the last image of this process started.
            alone: there is no shim yet.
        """
        self._starter = starter
        self._tell = tell
        self._talk = Talk(poll, tell, self._note, self._closed)
        self._runs: dict[str, Run] = {}
        self._children: dict[int, Run | None] = dict.fromkeys(heirs)  # shims; None: it has yet to dial
        self._foreign: set[Run] = set()  # whose shims live and are not our children
        self._unsettled: dict[Run, float] = {}  # when each is to be looked at again, in this order
        self._news: dict[Run, None] = {}  # of which the server is to hear
        self._reached: list[str] = []
        self.bystanders = set(bystanders)
        self._inherits = os.getpid() == 1 or bool(self.bystanders)  # also from others than shims
        self._fallen = Fallen(lambda pid: pid in self._children or pid in self.bystanders or is_server(pid))
        self._fallen.begin()  # while the last image became this one
        self._memory = OomWatch(group_to_watch(starter.home))
        self._counts = starter.home is not None and "memory" in starter.home.controllers
        self._kill_everybody = False
        self._deaths = 0  # of shims that were our children
        self._continue_at = 0.0
        self._start_at = 0.0 if alone else time.monotonic() + _DIALLED_WITHIN

    @property
    def children(self) -> list[int]:
        """The shims that are children of ours."""
        return list(self._children)

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
        return [run.holding() for run in self._runs.values() if not run.forgotten and not run.awaited]

    def start(self, order: Spawn) -> None:
        """Start a run, unless anybody ever did; then tell what is known of it, or wait for its shim."""
        run = self._runs.get(order.uid)
        if run is None:
            failpoint.reach("keeper.spawn.ordered")
            run = self._runs[order.uid] = Run(order.uid, order, killing=self._kill_everybody)
            self._settle(run)
        elif not run.awaited:
            self._say(run)

    def admit(self, link: socket.socket, pid: int, hello: shim.Hello) -> bool:
        """Take the connection of what may be a shim, if it holds the run; return whether that was so.

        Raises:
            OSError: it cannot be known now.
        """
        evidence, holder = runfile.look(hello.run)
        holds = evidence is Evidence.HELD and holder == pid
        if not holds and hello.report.stage is shim.Stage.FAILED:
            dismiss(link, shim.forget())  # it could not make the file: nobody was started
            return False
        run = self._runs.get(hello.run)
        # Somebody may have removed the file. Then nobody else can be the shim of this run but who is not dead yet.
        is_nameless = evidence is Evidence.NONE and (run is None or run.pid in (0, pid))
        if not (holds or is_nameless) or (pid not in self._children and _is_child(pid)):
            return False
        if run is None:
            run = self._runs[hello.run] = Run(hello.run, killing=self._kill_everybody)
        elif run.failure is not None:
            note("run told as failed has begun: killed", run=run.uid, pid=pid)
            dismiss(link, shim.kill(), shim.forget())
            return False
        elif run.dead:
            return False
        failpoint.reach("keeper.shim.dialled")
        self._identify(run, pid)
        self._connect(run, link)
        if hello.report.stage is not shim.Stage.FAILED:  # the file is in no hello: a report of it follows
            self._note(run, hello.report)
        return True

    def signal(self, order: Signal) -> None:
        """Signal a run's leader or all of it; the answer comes later."""
        self._talk.signal(self._runs.get(order.uid), order)

    def members(self, order: Members) -> None:
        """Ask who lives; the answer comes later."""
        self._talk.members(self._runs.get(order.uid), order)

    def write(self, order: Write) -> None:
        """Write to the input; the answer comes when the pipe has taken it."""
        run = self._runs.get(order.uid)
        if run is None or run.dead or run.failure is not None:
            self._tell(InputTaken(order.sequence, 0, closed=True))
        else:
            self._talk.write(run, order)

    def kill(self, uid: str) -> None:
        """Begin to kill a run: its shim goes on until nothing is left."""
        run = self._runs.get(uid)
        if run is not None and not run.killing:
            run.killing = True
            self._talk.owe(run, "kill", shim.kill())
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
            self._talk.owe(run, "forget", shim.forget())

    def dismiss(self) -> None:
        """Forget everything: nobody is left who could store it."""
        for uid in list(self._runs):
            self.forget(uid)

    def look_at_memory(self) -> None:
        """Look whether the kernel has killed somebody for want of memory; to be called about once a second."""
        self._memory.look()

    def look_at_children(self, reap: Callable[[], None]) -> None:
        """Note children that nobody's death has left us: they are bystanders. To be called about once a second.

        As the first process of a container we inherit what `docker exec` leaves behind, and what a bystander does. What
        a shim leaves is our child before its death can be reaped: so what is our child now, if then no death is found,
        was left by somebody else. What is left within the second before a shim is killed is taken for that shim's.
        """
        if self._inherits:
            found, deaths = self._fallen.unexpected(), self._deaths
            reap()
            if self.settled and self._deaths == deaths:
                self.bystanders |= found & self._fallen.unexpected()

    def nobody_asks(self) -> None:
        """The server is gone, and with it whoever waits for answers."""
        self._talk.nobody_asks()

    def close(self) -> None:
        """Leave no group of ours behind. Nothing of any run lives."""
        for run in list(self._runs.values()):
            self._drop(run)
        if self._starter.home is not None:
            with contextlib.suppress(OSError):  # another agent has groups there too
                self._starter.home.path.rmdir()

    def child_ended(self, pid: int) -> None:
        """Take in that a child of ours, which is not the server, has ended and was reaped."""
        if pid not in self._children:
            self.bystanders.discard(pid)
            self._fallen.reaped(pid)
            return
        self._deaths += 1
        run = self._children[pid]
        if run is None:
            self._fallen.begin()
        elif run.pid == pid:  # else another one had its run already
            run.child = False
            self._settle(run)
        del self._children[pid]

    def child_stopped(self, pid: int) -> None:
        """Continue a shim that somebody has stopped."""
        if pid in self._children:
            keep_going(pid)

    def pending(self) -> float | None:
        """Return in how many seconds `go_on` has something to do."""
        spans = [self._talk.pending(), self._fallen.pending()]
        if self._unsettled:
            spans.append(max(0.0, next(iter(self._unsettled.values())) - time.monotonic()))
        if self._foreign:
            spans.append(max(0.0, self._continue_at - time.monotonic()))
        return min((span for span in spans if span is not None), default=None)

    def go_on(self) -> None:
        """Do what is due: questions nobody answers, shims that do not come back, what has fallen."""
        now = time.monotonic()
        self._talk.go_on()
        for run, at in list(itertools.islice(self._unsettled.items(), _LOOKS_A_TURN)):
            if at > now:
                break
            self._settle(run)
        if self._foreign and now >= self._continue_at:
            self._continue_at = now + _CONTINUE_AFTER
            for run in self._foreign:
                keep_going(run.pid)
        for run in self._fallen.go_on():
            self._say(run)
            self._drop_if_over(run)

    def tell_news(self) -> None:
        """Tell the server of each run of which there is anything new, once, however much happened."""
        while self._news:
            run = next(iter(self._news))
            if not run.forgotten:
                self._tell(run.holding())
            del self._news[run]

    def news_were_sent(self) -> None:
        """Be where a test wants us to die, once the server was told why."""
        while self._reached:
            failpoint.reach(self._reached.pop())

    def _settle(self, run: Run) -> None:
        """Find out what became of a run of which no child and no connection tells, or have it looked at again soon."""
        self._unsettled.pop(run, None)
        # Before anything can go wrong; and the later the more there are, so that looking is not all that we do.
        self._unsettled[run] = time.monotonic() + _LOOK_AFTER + _LOOK_SECONDS * len(self._unsettled)
        try:
            settled = self._look(run)
        except OSError as error:
            settled = self._could_not_look(run, error)
        if settled:
            self._unsettled.pop(run, None)

    def _look(self, run: Run) -> bool:
        """Take in what is known by now; return whether that is all."""
        self._talk.hear_out(run)
        self._talk.hang_up(run)
        if run.report is not None and run.pid in self._children:  # reaped: it had the run, so nobody else can
            return self._bury(run)
        evidence, holder = runfile.look(run.uid)
        if evidence is Evidence.HELD:
            if holder != run.pid:
                run.report = None
                self._identify(run, holder)
            keep_going(run.pid)
            return run.child
        if evidence is Evidence.LEFT:
            return self._bury(run)
        if run.order is not None:
            return self._begin(run, run.order, evidence)
        if run.report is None:
            return self._fail(run, Failure(errno.EAGAIN, Phase.SPAWN.value, shim.NAME))
        if evidence is not Evidence.UNHELD and proc.exists(run.pid):
            return False  # somebody has removed its file, so its death is all that can be known
        return self._bury(run)

    def _begin(self, run: Run, order: Spawn, evidence: Evidence) -> bool:
        """Start a run for which nobody was started, as far as can be seen."""
        if evidence is Evidence.OTHER:
            return self._fail(run, Failure(errno.EEXIST, Phase.OUTPUT.value, runfile.path(run.uid)))
        # The files of runs that live may have been removed: their shims come before anybody is started.
        if time.monotonic() < self._start_at or (evidence is Evidence.UNHELD and not runfile.discard(run.uid)):
            return False
        started = self._starter.start(order)
        if isinstance(started, Failure):
            return self._fail(run, started)
        run.order, run.pid, run.child, run.group = None, started.pid, True, started.group
        self._children[run.pid] = run
        self._connect(run, started.link)
        return True

    def _fail(self, run: Run, failure: Failure) -> bool:
        """Tell that nobody was started, if from now on nobody can be: an earlier shim of this run may still come."""
        try:
            if not runfile.claim(run.uid):
                return False
        except OSError as error:
            if error.errno in STARVATION:
                return False
            # Else no shim can make the file either.
        self._talk.give_up(run)
        run.failure, run.order = failure, None
        self._say(run)
        self._drop_if_over(run)
        return True

    def _could_not_look(self, run: Run, error: OSError) -> bool:
        if run.order is not None and error.errno not in STARVATION and time.monotonic() >= self._start_at:
            return self._fail(run, Failure(error.errno or errno.EIO, Phase.OUTPUT.value, runfile.path(run.uid)))
        if not run.puzzling:
            note("run file not to be read, trying again", run=run.uid, error=str(error))
            run.puzzling = True
        return False

    def _bury(self, run: Run) -> bool:
        """Take in that the shim that had the run is dead, by FORGET or killed."""
        self._foreign.discard(run)
        self._talk.give_up(run)
        run.dead, run.order = True, None
        if run.report is None or run.report.alive:
            note("shim killed", run=run.uid, pid=run.pid)
            run.group = run.group or self._starter.group(run.uid)
            run.head = runfile.head(run.uid)
            self._fallen.begin(run)
        self._say(run)
        self._drop_if_over(run)
        return True

    def _identify(self, run: Run, pid: int) -> None:
        """Take in whose process the shim of a run is that we have not started for it."""
        run.order, run.pid, run.child = None, pid, pid in self._children
        run.group = run.group or self._starter.group(run.uid)
        if run.child:
            self._children[pid] = run
            self._foreign.discard(run)
        else:
            self._foreign.add(run)

    def _connect(self, run: Run, link: socket.socket) -> None:
        self._unsettled.pop(run, None)
        self._talk.connect(run, link)

    def _closed(self, run: Run) -> None:
        if not run.child:  # else the kernel will tell
            self._settle(run)

    def _note(self, run: Run, report: shim.Report) -> None:
        """Take in a report."""
        known, run.report = run.report, report
        if report.stage is shim.Stage.ENDED and (known is None or known.stage is not shim.Stage.ENDED):
            run.out_of_memory = self._memory.verdict(
                run.group if self._counts else None, status=report.status, struck=report.struck, at=report.ended_at
            )
            failpoint.reach("keeper.exit.heard")
            self._reached.append("keeper.exit.told")
        elif report.stage is not shim.Stage.STARTING and (known is None or known.stage is shim.Stage.STARTING):
            self._reached.append("keeper.spawn.told")
        self._say(run)

    def _say(self, run: Run) -> None:
        self._news[run] = None

    def _drop_if_over(self, run: Run) -> None:
        if run.forgotten and run.over:
            self._drop(run)

    def _drop(self, run: Run) -> None:
        self._talk.hang_up(run)
        self._unsettled.pop(run, None)
        self._runs.pop(run.uid, None)
        if run.group is not None:
            run.group.remove()


def _is_child(pid: int) -> bool:
    """Whether a process is a child of ours; the kernel says so also where /proc is hidden."""
    try:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True
