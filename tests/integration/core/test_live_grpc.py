"""The core inside a live grpc.aio server, as NVIDIA FLARE launches: no child is lost, no call is."""

from __future__ import annotations

import os
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from support import live_grpc
from support.apart import Apart
from support.processes import PLAIN

from farspawn_core import spawn_process

_LAUNCHES = 3_000


def _launch(_: int) -> int:
    return spawn_process(["/bin/true"], PLAIN).wait()


def _launch_from_threads() -> Counter[int]:
    with ThreadPoolExecutor(4) as pool:
        return Counter(pool.map(_launch, range(_LAUNCHES)))


def _launch_beside_a_live_server() -> tuple[list[list[int]], int, int]:
    assert "GRPC_ENABLE_FORK_SUPPORT" not in os.environ  # so gRPC has its fork handlers on, as FLARE's processes do
    served = live_grpc.serve_while(_launch_from_threads)
    return [[code, count] for code, count in served.result.items()], served.meanwhile, served.refused


@pytest.mark.slow
def test_three_thousand_launches_beside_a_live_server_all_exit_with_0_and_it_answers_on() -> None:
    in_a_server = Apart(environment={"GRPC_ENABLE_FORK_SUPPORT": None}, timeout=100)

    codes, meanwhile, refused = in_a_server.run(_launch_beside_a_live_server)

    assert codes == [[0, _LAUNCHES]]
    assert meanwhile > 100
    assert refused == 0
