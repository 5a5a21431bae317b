"""The invariant that all others rest on: per task id, the answers are those of some order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from chaos.checker import Failure, Operation, check
from chaos.findings import Finding
from chaos.history import Call
from chaos.translate import Start, operations, unexpected


def judge(calls: list[Call], starts: Iterable[Start]) -> Iterator[Finding]:
    """Yield each id whose history has no order, and each refusal that the contract does not have."""
    for call in unexpected(calls):
        yield Finding("only refusals of the contract", str(call))
    for task_id, history in sorted(operations(calls, starts).items()):
        if (failure := check(history)) is not None:
            stuck = ", ".join(_name(each) for each in failure.stuck)
            what = f"the calls on {task_id} have no order: after {len(failure.placed)} none of {stuck} can come next"
            yield Finding("the answers are those of some order", what, [*_shown(history, failure)])


def _name(operation: Operation) -> str:
    return f"#{operation.call.number}" if isinstance(operation.call, Call) else str(operation.call)


def _shown(history: list[Operation], failure: Failure) -> Iterator[str]:
    yield f"state before: {failure.state}"
    placed, stuck = set(map(id, failure.placed)), set(map(id, failure.stuck))
    for operation in sorted(history, key=lambda each: each.start):
        mark = "ok   " if id(operation) in placed else "STUCK" if id(operation) in stuck else "     "
        yield f"{mark} {type(operation.step).__name__:14} {operation.call}"
