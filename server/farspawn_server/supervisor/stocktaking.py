"""What the keeper is told when the server starts, task by task: what was decided is begun."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable

from farspawn_server.supervisor.charge import Charge, Ground
from farspawn_server.supervisor.orders import order
from farspawn_server.supervisor.recovery import Verdict, judge


def take_stock(
    charges: Iterable[Charge], ground: Ground
) -> tuple[list[Coroutine[None, None, None]], list[asyncio.Future[None]]]:
    """Tell the keeper what to do with each task that had not ended.

    Return what is to be stored of those that are cut off, and what to wait for: that the keeper tells of each other.
    """
    link, cut_off, heard = ground.link, list[Coroutine[None, None, None]](), list[asyncio.Future[None]]()
    holdings = {holding.uid: holding for holding in ground.hello.holdings}
    for charge in charges:
        task = charge.task
        if task.state.final:
            continue
        holding = holdings.get(task.run)
        verdict, cause, message = judge(task, ground.hello, holding)
        if verdict is Verdict.CUT_OFF:
            cut_off.append(charge.cut_off(cause, message))
            continue
        holdings.pop(task.run, None)
        if verdict is not Verdict.RESUME:
            heard.append(charge.heard())
        if verdict is Verdict.SPAWN:
            link.spawn(order(task))
        elif holding is not None:
            charge.hold(holding)
        charge.resume()
    for run in holdings:
        # No process without a task that goes on. Mostly these have ended and were stored, and the server died before it
        # said so.
        link.kill(run)
        link.forget(run)
    return cut_off, heard
