"""Random and mutated calls of every method to a real agent: no INTERNAL, no hang, no process left, memory bounded.

Thirty thousand calls a run; FARSPAWN_FUZZ multiplies that. FARSPAWN_FUZZ_SEED chooses others.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass
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
STREAMED = {"WatchTasks", "ReadLogs"}
LISTENED_SECONDS = 0.02  # to what may go on for as long as its reader wants
SENT_TOO_LATE = "Internal error from Core"  # said by grpc.aio itself of a message after the answer
GROWTH_BYTES = 64 << 20

Ends = Counter[tuple[str, grpc.StatusCode | None]]
SERVICE = pb.DESCRIPTOR.services_by_name["TaskLauncher"]
KINDS = {method.name: GetMessageClass(method.input_type) for method in SERVICE.methods}
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
max_runtime_seconds = 10

[templates.train]
argv = ["/bin/echo", "{round}", "x{site}"]
environment = ["TOKEN"]
parameters.round.minimum = 1
parameters.round.maximum = 9
parameters.site.pattern = "[a-z]*"
parameters.site.default = ""
"""


def right(method: str, number: int) -> Message:
    """Return a message that does something, for others to be near to."""
    task_id = f"fuzz-{number % 97}"
    reader = f"fuzz-{number % 8 + 1}7"
    # Who reads lives: with more of these there would be no room for others.
    spec = task_pb2.TaskSpec(argv=["/bin/cat"], stop=AT_ONCE, open_input=task_id.endswith("7"))
    known: dict[str, Message] = {
        "LaunchTask": pb.LaunchTaskRequest(task_id=task_id, spec=spec),
        "StopTask": pb.StopTaskRequest(task_id=task_id),
        "Poll": pb.PollRequest(task_ids=[task_id]),
        "WatchTasks": pb.WatchTasksRequest(since_revision=1),
        "ListTasks": pb.ListTasksRequest(page_size=5),
        "ReadLogs": pb.ReadLogsRequest(task_id=task_id),
        "WriteInput": pb.WriteInputRequest(task_id=reader, data=b"x"),
        "SignalTask": pb.SignalTaskRequest(task_id=reader, signal=signal.SIGCONT),
        "DeleteTask": pb.DeleteTaskRequest(task_id=task_id),
        "GetSite": pb.GetSiteRequest(),
    }
    return known[method]


def may_go_on(method: str, messages: list[bytes]) -> bool:
    """Whether a call may last for as long as its reader wants, unless it is refused. All others end by themselves."""
    try:
        match KINDS[method].FromString(b"".join(messages[:1])):
            case pb.WatchTasksRequest():
                return bool(messages)
            case pb.ReadLogsRequest() as read:
                return read.follow
            case pb.PollRequest() as poll:
                return poll.HasField("wait") and poll.since_revision > 0
    except DecodeError:
        pass  # it will be refused
    return False


async def call(channel: grpc.aio.Channel, method: str, messages: list[bytes]) -> grpc.StatusCode | None:
    """Make a call and return its end.

    None: it goes on, and was hung up on, a stream only once it had answered; or grpc.aio keeps the end to itself.
    """
    start: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(
        f"/{SERVICE.full_name}/{method}", request_serializer=None, response_deserializer=None
    )
    goes_on = may_go_on(method, messages)
    made = start(iter(messages), timeout=PATIENCE)
    try:
        if goes_on and method in STREAMED:
            await made.read()
        async with asyncio.timeout(LISTENED_SECONDS if goes_on else None):
            while await made.read() is not grpc.aio.EOF:
                pass
    except TimeoutError:
        made.cancel()
        return None
    except grpc.aio.AioRpcError as error:
        return None if (error.details() or "").startswith(SENT_TOO_LATE) else error.code()
    return await made.code()


async def attack(address: str, seeds: Iterator[int], ids: list[str]) -> Ends:
    """Call until there are no seeds left, and return how often which method ended how."""
    ends: Ends = Counter()
    methods = [(method.name, method.input_type) for method in SERVICE.methods]
    async with grpc.aio.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        for seed in seeds:
            name, kind = methods[seed % len(methods)]
            fuzz = Fuzz(seed, ids)
            count = 1 if seed % 50 else seed // 50 % 4  # mostly the one that there should be
            messages = [fuzz.wire(kind, right(name, seed)) for _ in range(count)]
            code = await call(channel, name, messages)
            assert code is None or code in FORESEEN, (
                f"{name} with seed {seed}: {code}; {[each.hex()[:999] for each in messages]}"
            )
            ends[name, code] += 1
    return ends


async def attack_together(address: str, seeds: Iterator[int]) -> Ends:
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

    print(sorted((name, "goes on" if code is None else code.name, count) for (name, code), count in ends.items()))
    after = resident_bytes(server), resident_bytes(keeper)
    assert site.server_pid == server
    assert all(now - then < GROWTH_BYTES for now, then in zip(after, before, strict=True)), (before, after)
    assert {name for name, code in ends if code is grpc.StatusCode.OK} == KINDS.keys() - {"WatchTasks"}
    assert ends["WatchTasks", None]  # has no end of its own
    assert output(site.stub, launch(site.stub, ["/bin/true"]).status.task_id) == b""
    site.clear()  # ends what lives; no process is left, and neither keeper nor server has erred
