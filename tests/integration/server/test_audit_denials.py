"""Denials over mutual TLS are on record, with who it was and by which rule, also of calls that only read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.agent import Agent
from support.audit import audit_lines
from support.policed import policed
from support.refused import refused
from support.tasks import launch
from support.tls import ALICE, BOB, NOBODY, VIEWER, tls_site
from support.waiting import until

from farspawn import _pki as pki
from farspawn.v1 import launcher_pb2 as pb
from farspawn.v1 import task_pb2
from farspawn_server.audit import Record, argv_digest
from farspawn_server.policy import Roster
from farspawn_server.rpc.gate import Gate
from farspawn_server.task.errors import UnauthenticatedError


def on_record(site: Agent, count: int) -> list[dict[str, Any]]:
    """Wait for so many lines, and return them."""
    until(lambda: len(audit_lines(site.state / "audit")) >= count)
    lines = audit_lines(site.state / "audit")
    assert len(lines) == count
    return lines


def told(line: dict[str, Any]) -> tuple[str, ...]:
    return tuple(line.get(name, "") for name in ("identity", "rpc", "task_id", "outcome", "rule"))


def test_each_denial_is_on_record_with_identity_peer_and_rule() -> None:
    with tls_site() as site:
        spec = task_pb2.TaskSpec(argv=["true"])
        with site.caller("nobody") as nobody:
            refused(lambda: nobody.GetSite(pb.GetSiteRequest()))
            refused(lambda: next(iter(nobody.WatchTasks(pb.WatchTasksRequest()))))
        with site.caller("viewer") as viewer:
            refused(lambda: viewer.LaunchTask(pb.LaunchTaskRequest(task_id="a", spec=spec)))
            refused(lambda: viewer.WriteInput(iter([pb.WriteInputRequest(task_id="a")])).__next__())
            viewer.GetSite(pb.GetSiteRequest())
        with site.caller("alice") as alice:
            alice.LaunchTask(pb.LaunchTaskRequest(task_id="b", spec=spec))
        with site.caller("bob") as bob:
            refused(lambda: bob.StopTask(pb.StopTaskRequest(task_id="b")))
        lines = on_record(site, 6)

    assert [told(line) for line in lines] == [
        (NOBODY, "GetSite", "", "POLICY_DENIED", "grants"),
        (NOBODY, "WatchTasks", "", "POLICY_DENIED", "grants"),
        (VIEWER, "LaunchTask", "", "POLICY_DENIED", "roles.LaunchTask"),
        (VIEWER, "WriteInput", "", "POLICY_DENIED", "roles.WriteInput"),
        (ALICE, "LaunchTask", "b", "accepted", ""),
        (BOB, "StopTask", "b", "TASK_NOT_FOUND", ""),
    ]
    assert all(line["peer"].startswith("ipv4:127.0.0.1:") for line in lines)


TEMPLATE = """
[policy]
allow = "templates"
[templates.train]
argv = ["/bin/sh", "-c", ": {words}"]
[templates.train.parameters.words]
pattern = "[a-z ]+"
"""


def test_a_template_is_on_record_with_its_revision_and_what_it_came_to_but_not_its_parameters() -> None:
    with policed(TEMPLATE) as site:
        spec = task_pb2.TaskSpec(template="train", parameters={"words": "not for everybody"})
        task = site.stub.LaunchTask(pb.LaunchTaskRequest(task_id="a", spec=spec)).task
        refused(lambda: site.stub.LaunchTask(pb.LaunchTaskRequest(spec=task_pb2.TaskSpec(template="other"))))
        refused(lambda: launch(site.stub, ["/bin/sh"], task_id="c"))
        first, second, third = on_record(site, 3)

    assert (first["template"], first["template_revision"]) == ("train", task.template_revision)
    assert (first["program"], first["argv_sha256"]) == (
        "/bin/sh",
        argv_digest(["/bin/sh", "-c", ": not for everybody"]),
    )
    assert "not for everybody" not in str(first)
    assert (second["template"], second["outcome"], second["rule"]) == ("other", "POLICY_DENIED", "templates")
    assert (third["program"], third["outcome"], third["rule"]) == ("/bin/sh", "POLICY_DENIED", "policy.allow")


class Call:
    """A call over a connection with a certificate that names two hosts."""

    def __init__(self, pem: bytes) -> None:
        self._pem = pem

    def auth_context(self) -> dict[str, list[bytes]]:
        return {"peer_dns": [b"two.example", b"one.example\n"], "x509_pem_cert": [self._pem]}

    def peer(self) -> str:
        return "ipv4:192.0.2.1:5"


def test_a_caller_without_an_identity_is_on_record_with_what_its_certificate_says(tmp_path: Path) -> None:
    pki.make_authority(tmp_path, name="one")
    records: list[Record] = []
    gate = Gate(Roster(), records.append)
    call: Any = Call((tmp_path / "ca.pem").read_bytes())
    with pytest.raises(UnauthenticatedError) as caught:
        gate.admit(call, "Poll")

    gate.refused(call, "Poll", None, caught.value)

    (record,) = records
    assert (record.identity, record.peer) == ("one.example\n two.example", "ipv4:192.0.2.1:5")
    assert (record.rpc, record.outcome) == ("Poll", "UNAUTHENTICATED")
