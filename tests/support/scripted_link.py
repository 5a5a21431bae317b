"""A link that answers from a script, on a clock of its own. No time passes, nothing is sent."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

from google.protobuf.message import Message

from farspawn._verbs import Call

T = TypeVar("T")


@dataclass(frozen=True)
class Held:
    """An answer that the site held back for so many seconds."""

    seconds: float
    answer: Message


class ScriptedLink:
    """See `farspawn._link.Link`; `asked`, `spans` and `slept` tell what was done with it."""

    def __init__(self, *answers: Message | Held | Exception | Sequence[Message | Exception]) -> None:
        self.patience = timedelta(minutes=1)
        self.answered = False
        self.asked: list[Message] = []
        self.slept: list[float] = []
        self.open_streams = 0
        self.clock = 1000.0
        self._answers = deque(answers)

    async def call(self, call: Call[T]) -> T:
        answer = self._next(call)
        if isinstance(answer, Held):
            self.clock += answer.seconds
            answer = answer.answer
        if isinstance(answer, Exception):
            raise answer
        assert isinstance(answer, Message), "a stream was scripted, and a unary call came"
        self.answered = True
        return call.read(answer.SerializeToString())

    async def stream(self, call: Call[T]) -> AsyncGenerator[T, None]:
        parts = self._next(call)
        if isinstance(parts, Exception):
            raise parts
        assert isinstance(parts, Sequence), "a unary answer was scripted, and a stream was asked for"
        self.open_streams += 1
        try:
            for part in parts:
                if isinstance(part, Exception):
                    raise part
                self.answered = True
                yield call.read(part.SerializeToString())
        finally:
            self.open_streams -= 1

    async def sleep(self, span: timedelta) -> None:
        self.slept.append(span.total_seconds())
        self.clock += span.total_seconds()

    def now(self) -> float:
        return self.clock

    def _next(self, call: Call[T]) -> Message | Held | Exception | Sequence[Message | Exception]:
        self.asked.append(call.request)
        assert self._answers, f"{call.method} was called once too often"
        return self._answers.popleft()
