"""Random and mutated calls of every method to a real agent: no INTERNAL, no hang, no process left, memory bounded.

Thirty thousand calls a run; FARSPAWN_FUZZ multiplies that. FARSPAWN_FUZZ_SEED chooses others.
"""

from __future__ import annotations

import asyncio
import itertools
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from google.protobuf.message import Message
from support.agent import AT_ONCE
from support.fuzz import Fuzz
from support.policed import PolicedSite, policed
from support.tasks import launch, output

from farspawn.v1 import launcher_pb2 as pb
from farspawn.v1 import task_pb2

CALLS = 30_000 * int(os.environ.get("FARSPAWN_FUZZ", "1"))
FIRST_SEED = int(os.environ.get("FARSPAWN_FUZZ_SEED", "0"))
AT_ONE_TIME = 32
PATIENCE = 60.0
STREAMED = {"WatchTasks", "ReadLogs", "WriteInput"}
LISTENED_SECONDS = 0.02  # to a stream: as long as its reader wants it goes on
SENT_TOO_LATE = "Internal error from Core"  # said by grpc.aio itself of a message after the answer
GROWTH_BYTES = 64 << 20

SERVICE = pb.DESCRIPTOR.services_by_name["TaskLauncher"]
FORESEEN = {
    grpc.StatusCode.OK,
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.ALREADY_EXISTS,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.OUT_OF_RANGE,
}
SETTINGS = """
[policy]
allow = "programs"
programs = ["/bin/true", "/bin/cat"]

[limits]
max_live_tasks = 50
max_ended_tasks = 200

[ceilings]
max_runtime_seconds = 2

[templates.train]
argv = ["/bin/echo", "{round}", "x{site}"]
environment = ["TOKEN"]
parameters.round.minimum = 1
parameters.round.maximum = 9
parameters.site.pattern = "[a-z]*"
parameters.site.default = ""
"""


def right(method: str, task_id: str) -> Message:
    """Return a message that does something, for others to be near to."""
    spec = task_pb2.TaskSpec(argv=["/bin/cat"], stop=AT_ONCE)
    known: dict[str, Message] = {
        "LaunchTask": pb.LaunchTaskRequest(task_id=task_id, spec=spec),
        "StopTask": pb.StopTaskRequest(task_id=task_id),
        "Poll": pb.PollRequest(task_ids=[task_id]),
        "WatchTasks": pb.WatchTasksRequest(since_revision=1),
        "ListTasks": pb.ListTasksRequest(page_size=5),
        "ReadLogs": pb.ReadLogsRequest(task_id=task_id),
        "WriteInput": pb.WriteInputRequest(task_id=task_id, data=b"x"),
        "SignalTask": pb.SignalTaskRequest(task_id=task_id, signal=15),
        "DeleteTask": pb.DeleteTaskRequest(task_id=task_id),
        "GetSite": pb.GetSiteRequest(),
    }
    return known[method]


async def call(channel: grpc.aio.Channel, method: str, messages: list[bytes], *, may_wait: bool) -> grpc.StatusCode:
    """Make a call and return its end; a stream, or a call that may wait, is hung up on after a moment."""
    start: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(
        f"/{SERVICE.full_name}/{method}", request_serializer=None, response_deserializer=None
    )
    made = start(iter(messages), timeout=PATIENCE)
    try:
        async with asyncio.timeout(LISTENED_SECONDS if may_wait else None):
            async for _ in made:
                pass
    except TimeoutError:
        made.cancel()
        return grpc.StatusCode.OK
    except grpc.aio.AioRpcError as error:
        if (error.details() or "").startswith(SENT_TOO_LATE):
            return grpc.StatusCode.OK
        return error.code()
    return await made.code()


async def attack(address: str, seeds: Iterator[int], ids: list[str]) -> Counter[tuple[str, grpc.StatusCode]]:
    """Call until there are no seeds left, and return how often which method ended how."""
    ends: Counter[tuple[str, grpc.StatusCode]] = Counter()
    methods = [(method.name, method.input_type) for method in SERVICE.methods]
    async with grpc.aio.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        for seed in seeds:
            name, kind = methods[seed % len(methods)]
            fuzz = Fuzz(seed, ids)
            count = 1 if seed % 50 else seed // 50 % 4  # mostly the one that there should be
            messages = [fuzz.wire(kind, right(name, f"fuzz-{seed % 97}")) for _ in range(count)]
            code = await call(channel, name, messages, may_wait=name in STREAMED or name == "Poll")
            assert code in FORESEEN, f"{name} with seed {seed}: {code}; {[each.hex()[:999] for each in messages]}"
            ends[name, code] += 1
    return ends


async def attack_together(address: str, seeds: Iterator[int]) -> Counter[tuple[str, grpc.StatusCode]]:
    ids = [f"fuzz-{number}" for number in range(97)]
    ends = await asyncio.gather(*(attack(address, seeds, ids) for _ in range(AT_ONE_TIME)))
    return sum(ends, Counter())


def resident_bytes(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


@pytest.fixture
def site() -> Iterator[PolicedSite]:
    with policed(SETTINGS) as site:
        yield site


@pytest.mark.slow
@pytest.mark.timeout(600 * int(os.environ.get("FARSPAWN_FUZZ", "1")))
def test_no_call_whatever_it_says_harms_the_agent(site: PolicedSite) -> None:
    server, keeper = site.server_pid, site.keeper_pid
    numbers = itertools.count(FIRST_SEED)
    asyncio.run(attack_together(site.address, itertools.islice(numbers, CALLS // 5)))
    before = resident_bytes(server), resident_bytes(keeper)

    ends = asyncio.run(attack_together(site.address, itertools.islice(numbers, CALLS * 4 // 5)))

    print(sorted(((name, code.name), count) for (name, code), count in ends.items()))
    after = resident_bytes(server), resident_bytes(keeper)
    assert site.server_pid == server
    assert all(now - then < GROWTH_BYTES for now, then in zip(after, before, strict=True)), (before, after)
    assert {name for name, code in ends if code is grpc.StatusCode.OK} == {each.name for each in SERVICE.methods}
    assert output(site.stub, launch(site.stub, ["/bin/true"]).status.task_id) == b""
    site.clear()  # ends what lives; no process is left, and neither keeper nor server has erred
