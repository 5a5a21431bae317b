"""How a call reaches a method: one message in, answers out, and every error an answer.

All methods are registered as streaming their requests, also those that take one message. On the wire that is the same;
but gRPC never answers a unary call whose client half-closes without a message, and such a call would hold its place for
ever. Here it is refused.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import Any, NoReturn, TypeAlias, TypeVar

import grpc
from google.protobuf.message import Message

from farspawn_server.policy import Caller
from farspawn_server.rpc.gate import Gate
from farspawn_server.rpc.parsing import parser
from farspawn_server.rpc.patience import Patience
from farspawn_server.rpc.refusals import status_of
from farspawn_server.task.errors import ReaderTooSlowError, Refusal, SpecInvalidError, Violation

log = logging.getLogger(__name__)

FIRST_MESSAGE_SECONDS = 10.0
READER_SECONDS = 20.0
"""How long a stream waits for a reader who takes nothing. What was on its way by then gRPC holds: some 64 KiB."""

_patience = Patience(FIRST_MESSAGE_SECONDS)
_patience_with_readers = Patience(READER_SECONDS)

_Request = TypeVar("_Request", bound=Message)
_Context = grpc.aio.ServicerContext[Any, Any]
Requests = AsyncIterator[bytes]
"""What came, as it came: parsed when it is known who calls."""
Answer = Message | bytes
"""A message, or one that is written already."""
Handler: TypeAlias = "grpc.RpcMethodHandler[bytes, Answer]"


def one_answer(
    gate: Gate,
    name: str,
    request_type: type[_Request],
    method: Callable[[Caller, _Request], Awaitable[Answer]],
    *,
    waits: bool = False,
) -> Handler:
    """Return the handler of a method that takes one message and gives one. `waits`: it may take minutes."""
    parse = parser(name, request_type)

    async def handle(requests: Requests, context: _Context) -> Answer:
        request = None
        try:
            caller = gate.admit(context, name)
            request = await only(requests, parse)
            answer = method(caller, request)
            return await (gate.answer_while_admitted(context, name, answer) if waits else answer)
        except Exception as error:  # noqa: BLE001  # the last place that can turn an error into an answer
            gate.refused(context, name, request, error)
            request = None  # see _refuse
            await _refuse(context, error)

    return register(grpc.stream_unary_rpc_method_handler, handle)


def many_answers(
    gate: Gate,
    name: str,
    request_type: type[_Request],
    method: Callable[[Caller, _Request], AsyncIterator[Answer]],
) -> Handler:
    """Return the handler of a method that takes one message and gives a stream."""
    parse = parser(name, request_type)

    async def answers(requests: Requests, context: _Context) -> AsyncIterator[Answer]:
        return method(gate.admit(context, name), await only(requests, parse))

    return _stream(gate, name, answers)


def conversation(
    gate: Gate,
    name: str,
    request_type: type[_Request],
    method: Callable[[Caller, AsyncIterator[_Request]], AsyncIterator[Answer]],
) -> Handler:
    """Return the handler of a method that takes a stream and gives one."""
    parse = parser(name, request_type)

    async def answers(requests: Requests, context: _Context) -> AsyncIterator[Answer]:
        return method(gate.admit(context, name), _begun(requests, parse))

    return _stream(gate, name, answers)


def _stream(
    gate: Gate, name: str, answers: Callable[[Requests, _Context], Awaitable[AsyncIterator[Answer]]]
) -> Handler:
    async def handle(requests: Requests, context: _Context) -> None:
        try:
            async with aclosing(gate.while_admitted(context, name, await answers(requests, context))) as admitted:
                await send(context, admitted)
        except grpc.aio.InternalError:
            pass  # the client went away in the middle of an answer: nobody is left to be told anything
        except Exception as error:  # noqa: BLE001  # the last place that can turn an error into an answer
            gate.refused(context, name, None, error)
            await _refuse(context, error)

    return register(grpc.stream_stream_rpc_method_handler, handle)


async def send(context: _Context, answers: AsyncIterator[Answer]) -> None:
    """Write to a stream.

    Raises:
        ReaderTooSlowError: its reader has taken nothing for too long.
    """
    # Not with the first answer: gRPC can end a stream early only once the headers are out. A connection that takes not
    # even these answers no pings either, and is closed for that.
    await context.send_initial_metadata(())
    async for answer in answers:
        try:
            await _patience_with_readers.bear(context.write(answer))
        except TimeoutError:
            log.warning("reader too slow", extra={"peer": context.peer()})
            raise ReaderTooSlowError(f"nothing was read for {READER_SECONDS:g} s: read on from there") from None


def register(kind: Callable[..., Handler], handle: Callable[..., Awaitable[Answer | None]]) -> Handler:
    """Return the handler of a method, of a kind that streams its requests."""
    return kind(handle, request_deserializer=None, response_serializer=_serialized)


def _serialized(answer: Answer) -> bytes:
    return answer if isinstance(answer, bytes) else answer.SerializeToString()


async def only(requests: Requests, parse: Callable[[bytes], _Request]) -> _Request:
    """Return the message of a call that has one.

    Raises:
        SpecInvalidError: none came in time, or it is none.
    """
    try:
        data = await _patience.bear(anext(requests))
    except (StopAsyncIteration, TimeoutError):
        raise SpecInvalidError([Violation("", "no message came: send exactly one")]) from None
    return parse(data)


async def _begun(requests: Requests, parse: Callable[[bytes], _Request]) -> AsyncIterator[_Request]:
    """Yield the messages of a call that has many.

    Raises:
        SpecInvalidError: the first one did not come in time, or one is none.
    """
    try:
        yield parse(await _patience.bear(anext(requests)))
    except StopAsyncIteration:
        return
    except TimeoutError:
        raise SpecInvalidError([Violation("", "no message came: send at least one")]) from None
    async for data in requests:
        yield parse(data)


async def _refuse(context: _Context, error: Exception) -> NoReturn:
    """End the call with the status of an error. What we did not foresee is logged here and not told."""
    if isinstance(error, Refusal):
        # gRPC keeps what `abort` raises, and with it the frames that it passes, in a cycle: what these hold, a request
        # or its bytes, would stay until garbage is collected, for each refused call.
        error.__traceback__ = None
        await abort(context, *status_of(error))
    log.error("call failed", exc_info=error)
    await abort(context, grpc.StatusCode.INTERNAL, "an error in the agent: see its log")


async def abort(
    context: _Context, code: grpc.StatusCode, message: str, trailers: Sequence[tuple[str, str | bytes]] = ()
) -> NoReturn:
    """End a call with a status, if it has none yet."""
    try:
        await context.abort(code, message, tuple(trailers))
    except grpc.aio.InternalError:
        # gRPC has ended it, as that of a message too large, and is about to cancel us.
        raise asyncio.CancelledError from None
    raise AssertionError("abort raises")
