"""Channel arguments, each by its effect: gRPC checks none of their names."""

from __future__ import annotations

import asyncio
import threading
from datetime import timedelta
from pathlib import Path

import grpc
import pytest
from support.toy_site import Handlers, toy_site, unary

import farspawn
from farspawn.v1 import launcher_pb2 as pb
from farspawn.v1 import task_pb2


class Flaky:
    """A site that is not available the first few times."""

    def __init__(self, failures: int) -> None:
        self.failures = failures
        self.calls = 0
        self.task_ids: set[str] = set()
        self.methods: Handlers = {
            "LaunchTask": unary(pb.LaunchTaskRequest, self.launch),
            "SignalTask": unary(pb.SignalTaskRequest, self.signal),
        }

    def launch(self, request: pb.LaunchTaskRequest, context: grpc.ServicerContext) -> pb.LaunchTaskResponse:
        self.task_ids.add(request.task_id)
        self._fail(context)
        return pb.LaunchTaskResponse(created=True)

    def signal(self, _: pb.SignalTaskRequest, context: grpc.ServicerContext) -> pb.SignalTaskResponse:
        self._fail(context)
        return pb.SignalTaskResponse(signalled=1)

    def _fail(self, context: grpc.ServicerContext) -> None:
        self.calls += 1
        if self.calls <= self.failures:
            context.abort(grpc.StatusCode.UNAVAILABLE, "not now")


@pytest.mark.parametrize("size", [1, 1 << 20])
def test_a_launch_is_repeated_under_one_id(tmp_path: Path, size: int) -> None:
    # 1 MiB: by default gRPC repeats nothing above 256 KiB.
    flaky = Flaky(failures=2)
    with toy_site(flaky.methods, tmp_path) as address, farspawn.Client(address) as site:
        process = site.launch(["x" * size])

    assert flaky.calls == 3
    assert flaky.task_ids == {process.task_id}


def test_a_launch_is_repeated_under_one_id_by_the_client_of_asyncio(tmp_path: Path) -> None:
    flaky = Flaky(failures=2)

    async def launch(address: str) -> farspawn.AsyncProcess:
        async with farspawn.AsyncClient(address) as site:
            return await site.launch(["x"])

    with toy_site(flaky.methods, tmp_path) as address:
        process = asyncio.run(launch(address))

    assert flaky.calls == 3
    assert flaky.task_ids == {process.task_id}


def test_repeating_ends(tmp_path: Path) -> None:
    flaky = Flaky(failures=99)
    with (
        toy_site(flaky.methods, tmp_path) as address,
        farspawn.Client(address) as site,
        pytest.raises(farspawn.SiteUnreachableError, match="not now"),
    ):
        site.launch(["x"])

    assert flaky.calls == 5


def test_a_signal_is_not_repeated(tmp_path: Path) -> None:
    flaky = Flaky(failures=1)
    with (
        toy_site(flaky.methods, tmp_path) as address,
        farspawn.Client(address) as site,
        pytest.raises(farspawn.SiteUnreachableError),
    ):
        site.signal("a", 2)

    assert flaky.calls == 1


def test_a_page_above_grpcs_default_of_4_mib_is_read(tmp_path: Path) -> None:
    page = pb.ListTasksResponse(tasks=[task_pb2.Task(owner="x" * (6 << 20))])
    with (
        toy_site({"ListTasks": unary(pb.ListTasksRequest, lambda *_: page)}, tmp_path) as address,
        farspawn.Client(address) as site,
    ):
        (task,) = site.list_tasks()

    assert len(task.owner) == 6 << 20


def test_a_message_that_the_site_does_not_take_is_named_as_such(tmp_path: Path) -> None:
    with (
        toy_site(Flaky(0).methods, tmp_path) as address,
        farspawn.Client(address) as site,
        pytest.raises(farspawn.MessageTooLargeError, match="larger than max"),
    ):
        site.launch(["x" * (9 << 20)])


def test_what_the_site_does_not_serve_is_named_as_such(tmp_path: Path) -> None:
    with (
        toy_site(Flaky(0).methods, tmp_path) as address,
        farspawn.Client(address) as site,
        pytest.raises(farspawn.NotServedError),
    ):
        site.site()


def test_nobody_there_is_told_in_short(tmp_path: Path) -> None:
    with farspawn.Client(f"unix:{tmp_path}/s") as site, pytest.raises(farspawn.SiteUnreachableError) as nobody:
        site.site()

    assert str(nobody.value) == f"unix:{tmp_path}/s: nobody answers: No such file or directory"


class Silent:
    """A site that answers nothing until it is released."""

    def __init__(self) -> None:
        self.called = threading.Event()
        self.release = threading.Event()
        self.methods: Handlers = {"GetSite": unary(pb.GetSiteRequest, self.site)}

    def site(self, _: pb.GetSiteRequest, __: grpc.ServicerContext) -> pb.GetSiteResponse:
        self.called.set()
        self.release.wait()
        return pb.GetSiteResponse()


def test_a_call_has_its_time(tmp_path: Path) -> None:
    silent = Silent()
    with (
        toy_site(silent.methods, tmp_path) as address,
        farspawn.Client(address, timeout=timedelta(milliseconds=200)) as site,
    ):
        with pytest.raises(farspawn.CallTimeoutError):
            site.site()
        silent.release.set()


def test_closing_the_client_ends_what_is_under_way(tmp_path: Path) -> None:
    silent = Silent()
    with toy_site(silent.methods, tmp_path) as address:
        site = farspawn.Client(address)

        def close() -> None:
            silent.called.wait()
            site.close()

        closing = threading.Thread(target=close)
        closing.start()
        with pytest.raises(farspawn.ClientClosedError):
            site.site()
        closing.join()
        silent.release.set()

    with pytest.raises(farspawn.ClientClosedError):
        site.site()


def test_closing_the_client_of_asyncio_does_not_look_like_a_cancelled_task(tmp_path: Path) -> None:
    silent = Silent()

    async def ask_and_close(address: str) -> None:
        site = farspawn.AsyncClient(address)
        asking = asyncio.create_task(site.site())
        await asyncio.to_thread(silent.called.wait)
        await site.close()
        silent.release.set()
        with pytest.raises(farspawn.ClientClosedError):
            await asking

    with toy_site(silent.methods, tmp_path) as address:
        asyncio.run(ask_and_close(address))
