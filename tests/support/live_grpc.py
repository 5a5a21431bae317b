"""A grpc.aio server that is kept busy from another process while something is done beside it, as FLARE launches tasks.

Nothing here may fork: this is the very process in which that goes wrong.

The same file is the program of the busy clients: `live_grpc.py ADDRESS CLIENTS`, until standard input ends.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Generic, TypeVar

import grpc
import grpc.aio

from farspawn_core import spawn_process

_T = TypeVar("_T")

_METHOD = "/farspawn.test.Echo/Echo"
_CALLS_PER_CHANNEL = 500  # then a client comes anew: connections are what makes descriptors and threads change
_WARM = 100  # calls before the work begins


@dataclass(frozen=True)
class Served(Generic[_T]):
    """What came of some work beside a live server.

    Attributes:
        result: what the work returned.
        meanwhile: calls answered while it was done.
        answered: all calls answered, by the clients' count.
        refused: calls that ended in an error.
    """

    result: _T
    meanwhile: int
    answered: int
    refused: int


def serve_while(work: Callable[[], _T], *, clients: int = 8) -> Served[_T]:
    """Do `work` in a thread of this process while a busy grpc.aio server lives in it."""
    return asyncio.run(_serve_while(work, clients))


async def _serve_while(work: Callable[[], _T], clients: int) -> Served[_T]:
    served = 0
    warm = asyncio.Event()

    async def echo(request: bytes, _context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        nonlocal served
        served += 1
        if served >= _WARM:
            warm.set()
        return request

    server = grpc.aio.server()
    _, service, method = _METHOD.split("/")
    handler = grpc.method_handlers_generic_handler(service, {method: grpc.unary_unary_rpc_method_handler(echo)})
    server.add_generic_rpc_handlers([handler])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    loop = asyncio.get_running_loop()
    stdin, stop = os.pipe()
    report, stdout = os.pipe()
    command = [sys.executable, __file__, f"127.0.0.1:{port}", str(clients)]
    load = spawn_process(command, os.environ, descriptors=(stdin, stdout, 2))
    os.close(stdin)
    os.close(stdout)
    try:
        await warm.wait()
        before = served
        result = await loop.run_in_executor(None, work)
        meanwhile = served - before
        os.close(stop)
        answered, refused = json.loads(await loop.run_in_executor(None, _read, report))
    finally:
        load.kill()
        await server.stop(None)
    return Served(result, meanwhile, answered, refused)


def _read(descriptor: int) -> bytes:
    with open(descriptor, "rb") as file:
        return file.read()


async def _call(address: str, stopped: asyncio.Event) -> tuple[int, int]:
    answered = refused = 0
    while not stopped.is_set():
        async with grpc.aio.insecure_channel(address) as channel:
            echo: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(_METHOD)
            for _ in range(_CALLS_PER_CHANNEL):
                if stopped.is_set():
                    break
                try:
                    await echo(b"x" * 100, timeout=30)
                    answered += 1
                except grpc.aio.AioRpcError:
                    refused += 1
    return answered, refused


async def _keep_busy(address: str, clients: int) -> None:
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_reader(0, stopped.set)
    counts = await asyncio.gather(*(_call(address, stopped) for _ in range(clients)))
    print(json.dumps([sum(answered for answered, _ in counts), sum(refused for _, refused in counts)]))


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        asyncio.run(_keep_busy(sys.argv[1], int(sys.argv[2])))
