"""What the keeper is told when the server starts, task by task: what was decided is begun."""

from __future__ import annotations

from collections.abc import Coroutine, Iterable

from farspawn_server.keeper.messages import Adopt
from farspawn_server.supervisor.charge import Charge, Ground
from farspawn_server.supervisor.orders import order
from farspawn_server.supervisor.recovery import Verdict, judge


def take_stock(charges: Iterable[Charge], ground: Ground) -> list[Coroutine[None, None, None]]:
    """Tell the keeper what to do with each task that had not ended; return what is to be stored of the lost ones."""
    link, lost = ground.link, list[Coroutine[None, None, None]]()
    holdings = {holding.uid: holding for holding in ground.hello.holdings}
    for charge in charges:
        task = charge.task
        if task.state.final:
            continue
        holding = holdings.pop(task.run, None)
        verdict, cause, message = judge(task, ground.hello, holding)
        if verdict is Verdict.LOSE:
            lost.append(charge.lose(cause, message))
            continue
        if verdict is Verdict.SPAWN:
            link.spawn(order(task, ground.logs))
        elif verdict is Verdict.ADOPT:
            pid = 0 if task.ending else task.pid
            link.adopt(Adopt(task.run, pid, task.start_time, task.times.started or 0, task.guessed))
        elif holding is not None:
            charge.hold(holding)
        charge.resume()
    for run in holdings:
        # No process without a task. Mostly these have ended and were stored, and the server died before it said so.
        link.kill(run)
        link.forget(run)
    return lost
