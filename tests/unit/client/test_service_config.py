"""The service config beside the protos: what the contract's comments say, for gRPC libraries of all languages."""

from __future__ import annotations

import json
from pathlib import Path

from farspawn import _channel
from farspawn.v1 import launcher_pb2

BESIDE_THE_PROTOS = Path(__file__).parents[3] / "protos/farspawn/v1/service_config.json"
ONCE_ONLY = {"SignalTask", "WriteInput"}


def test_every_method_may_be_repeated_but_those_that_may_not() -> None:
    service = launcher_pb2.DESCRIPTOR.services_by_name["TaskLauncher"]
    (methods,) = json.loads(BESIDE_THE_PROTOS.read_text(encoding="utf-8"))["methodConfig"]

    assert {name["service"] for name in methods["name"]} == {service.full_name}
    assert {name["method"] for name in methods["name"]} == {each.name for each in service.methods} - ONCE_ONLY
    assert methods["retryPolicy"]["retryableStatusCodes"] == ["UNAVAILABLE"]


def test_the_python_client_reads_the_same_file() -> None:
    beside_the_protos = json.loads(BESIDE_THE_PROTOS.read_text(encoding="utf-8"))
    chosen = dict(_channel.options(encrypted=True))

    assert json.loads(str(chosen["grpc.service_config"]))["methodConfig"] == beside_the_protos["methodConfig"]
