"""Who gets in over TCP, as whom, and what they may do: real certificates, real handshakes."""

from __future__ import annotations

import datetime as dt
import hashlib
import os
import queue
import signal
import socket
import ssl
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest
from cryptography import x509
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from support.agent import AT_ONCE, FINAL, LIVE, until_ended
from support.refused import refused
from support.tasks import new_id, span
from support.tls import ALICE, BOB, VIEWER, TlsSite, of_another_authority, signed
from support.waiting import PATIENCE, until

from farspawn import _pki as pki
from farspawn.v1 import launcher_pb2 as pb
from farspawn.v1 import task_pb2
from farspawn.v1.launcher_pb2_grpc import TaskLauncherStub

LIST_SERVICES = reflection_pb2.ServerReflectionRequest(list_services="")


def launch(task_id: str) -> pb.LaunchTaskRequest:
    return pb.LaunchTaskRequest(task_id=task_id, spec=task_pb2.TaskSpec(argv=["sleep", "600"], open_input=True))


def lets_in(site: TlsSite, credentials: grpc.ChannelCredentials) -> bool:
    """Whether a new connection with these gets an answer."""
    with site.caller(credentials) as somebody:
        try:
            somebody.GetSite(pb.GetSiteRequest(), timeout=PATIENCE)
        except grpc.RpcError:
            return False
    return True


def trust(site: TlsSite, authorities: bytes) -> None:
    """Replace the file of the authorities that sign callers' certificates."""
    beside = site.pki / "new-ca.pem"
    beside.write_bytes(authorities)
    beside.replace(site.pki / "ca.pem")


@contextmanager
def denying(site: TlsSite, whom: str) -> Iterator[None]:
    """Have somebody denied for a while, without a restart."""
    try:
        reconfigure(site, denied=[whom])
        yield
    finally:
        reconfigure(site)


def reconfigure(site: TlsSite, *, denied: Sequence[str] = ()) -> None:
    before = site.log.count("settings renewed")
    site.configure(denied=denied)
    os.kill(site.keeper_pid, signal.SIGHUP)
    until(lambda: site.log.count("settings renewed") > before)


def presented(site: TlsSite) -> str:
    """Return the fingerprint of the certificate that a new connection is shown."""
    context = ssl.create_default_context(cafile=site.pki / "ca.pem")
    context.load_cert_chain(site.pki / "alice.pem", site.pki / "alice.key")
    context.set_alpn_protocols(["h2"])
    host, port = site.address.split(":")
    with (
        socket.create_connection((host, int(port))) as plain,
        context.wrap_socket(plain, server_hostname=host) as secure,
    ):
        certificate = secure.getpeercert(binary_form=True)
    assert certificate is not None
    return hashlib.sha256(certificate).hexdigest()


def test_a_task_belongs_to_the_identity_in_the_certificate(site: TlsSite) -> None:
    with site.caller("alice") as alice:
        task = alice.LaunchTask(launch("mine")).task

    assert task.owner == ALICE


def test_who_has_no_certificate_is_not_connected(site: TlsSite) -> None:
    authority = grpc.ssl_channel_credentials((site.pki / "ca.pem").read_bytes())

    with site.caller(authority) as stranger, pytest.raises(grpc.RpcError) as error:
        stranger.GetSite(pb.GetSiteRequest(), timeout=PATIENCE)

    assert error.value.code() == grpc.StatusCode.UNAVAILABLE


def test_a_certificate_of_another_authority_is_not_connected(site: TlsSite, tmp_path: Path) -> None:
    with site.caller(of_another_authority(site, tmp_path, ALICE)) as impostor, pytest.raises(grpc.RpcError) as error:
        impostor.GetSite(pb.GetSiteRequest(), timeout=PATIENCE)

    assert error.value.code() == grpc.StatusCode.UNAVAILABLE


def test_who_has_no_role_may_do_nothing(site: TlsSite) -> None:
    with site.caller("nobody") as nobody:
        refusal = refused(lambda: nobody.GetSite(pb.GetSiteRequest()))

    assert refusal.code == grpc.StatusCode.PERMISSION_DENIED
    assert (refusal.reason, refusal.metadata["rule"]) == ("POLICY_DENIED", "grants")


@pytest.mark.parametrize(
    "names",
    [
        [],
        [x509.UniformResourceIdentifier(ALICE), x509.UniformResourceIdentifier(BOB)],
        [x509.DNSName("a.example"), x509.DNSName("b.example")],
    ],
    ids=["only a common name", "two URIs", "two DNS names"],
)
def test_a_certificate_that_names_nobody_or_several_is_no_identity(
    site: TlsSite, names: Sequence[x509.GeneralName]
) -> None:
    with site.caller(signed(site, *names)) as somebody:
        refusal = refused(lambda: somebody.GetSite(pb.GetSiteRequest(), timeout=PATIENCE))

    assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED")


def test_a_viewer_may_look_and_not_touch(site: TlsSite) -> None:
    with site.caller("viewer") as viewer:
        seen = viewer.ListTasks(pb.ListTasksRequest())
        refusal = refused(lambda: viewer.LaunchTask(launch("viewers")))

    assert list(seen.tasks) == []
    assert refusal.code == grpc.StatusCode.PERMISSION_DENIED
    assert refusal.metadata["rule"] == "roles.LaunchTask"


def calls_on(stub: TaskLauncherStub, task_id: str) -> list[Callable[[], object]]:
    """Return a call of each method that must be told of one task."""
    part = pb.WriteInputRequest(task_id=task_id, data=b"x")
    return [
        lambda: stub.StopTask(pb.StopTaskRequest(task_id=task_id)),
        lambda: stub.SignalTask(pb.SignalTaskRequest(task_id=task_id, signal=9)),
        lambda: stub.DeleteTask(pb.DeleteTaskRequest(task_id=task_id)),
        lambda: list(stub.ReadLogs(pb.ReadLogsRequest(task_id=task_id), timeout=PATIENCE)),
        lambda: list(stub.WriteInput(iter([part]), timeout=PATIENCE)),
    ]


def test_others_tasks_do_not_exist(site: TlsSite) -> None:
    with site.caller("alice") as alice, site.caller("bob") as bob:
        task = alice.LaunchTask(launch("hers")).task

        names = ["hers", task.status.uid]
        codes = {refused(call).code for name in names for call in calls_on(bob, name)}
        polled = bob.Poll(pb.PollRequest(task_ids=names))
        listed = bob.ListTasks(pb.ListTasksRequest(filter=pb.TaskFilter(owner=ALICE)))

    assert codes == {grpc.StatusCode.NOT_FOUND}
    assert list(polled.unknown_task_ids) == names
    assert list(listed.tasks) == []


def told_of(events: Iterator[pb.WatchTasksResponse], last: Callable[[pb.WatchTasksResponse], bool]) -> set[str]:
    """Return the uids that a watch tells, up to an event of this kind."""
    uids = set()
    for event in events:
        uids.add(event.changed.uid or event.deleted_uid)
        if last(event):
            break
    return uids - {""}  # a checkpoint's


def test_a_watch_tells_nothing_of_others_tasks_whatever_becomes_of_them(site: TlsSite) -> None:
    with site.caller("alice") as alice, site.caller("bob") as bob:
        hers = [alice.LaunchTask(launch("before")).task.status.uid]
        events = bob.WatchTasks(pb.WatchTasksRequest(), timeout=PATIENCE)
        snapshot = told_of(events, lambda event: event.HasField("checkpoint"))
        hers.append(alice.LaunchTask(launch("after")).task.status.uid)
        for uid in hers:
            alice.StopTask(pb.StopTaskRequest(task_id=uid, plan=AT_ONCE))
            until_ended(alice, uid)
            alice.DeleteTask(pb.DeleteTaskRequest(task_id=uid))
        his = bob.LaunchTask(launch(new_id())).task.status.uid
        bob.StopTask(pb.StopTaskRequest(task_id=his, plan=AT_ONCE))
        later = told_of(events, lambda event: event.changed.state in FINAL)

    assert snapshot.isdisjoint(hers)
    assert later == {his}


def test_two_owners_use_one_id_for_two_tasks(site: TlsSite) -> None:
    with site.caller("alice") as alice, site.caller("bob") as bob:
        hers = alice.LaunchTask(launch("round-1"))
        his = bob.LaunchTask(launch("round-1"))

    assert hers.created
    assert his.created
    assert hers.task.status.uid != his.task.status.uid


def test_an_admin_sees_all_and_names_others_tasks_by_uid(site: TlsSite) -> None:
    with site.caller("alice") as alice:
        task = alice.LaunchTask(launch("anything")).task

    live = pb.TaskFilter(owner=ALICE, states=[task_pb2.TASK_STATE_RUNNING])
    listed = site.stub.ListTasks(pb.ListTasksRequest(filter=live))
    stopped = site.stub.StopTask(pb.StopTaskRequest(task_id=task.status.uid)).status

    assert [each.status.uid for each in listed.tasks] == [task.status.uid]
    assert stopped.state == task_pb2.TASK_STATE_STOPPING


def watching(stub: TaskLauncherStub) -> Iterator[object]:
    return stub.WatchTasks(pb.WatchTasksRequest(), timeout=PATIENCE)


def following(stub: TaskLauncherStub) -> Iterator[object]:
    task_id = new_id()
    stub.LaunchTask(launch(task_id))
    return stub.ReadLogs(pb.ReadLogsRequest(task_id=task_id, follow=True), timeout=PATIENCE)


def writing(stub: TaskLauncherStub) -> Iterator[object]:
    task_id = new_id()
    stub.LaunchTask(launch(task_id))
    parts: queue.SimpleQueue[pb.WriteInputRequest | None] = queue.SimpleQueue()
    parts.put(pb.WriteInputRequest(task_id=task_id, data=b"x"))
    stream = stub.WriteInput(iter(parts.get, None), timeout=PATIENCE)
    stream.add_callback(lambda: parts.put(None))  # our side stays open until the server ends the call
    return stream


@pytest.mark.parametrize("open_stream", [watching, following, writing])
@pytest.mark.parametrize("by", ["identity", "fingerprint"])
def test_who_is_denied_is_out_from_the_next_call_and_its_streams_end(
    site: TlsSite, open_stream: Callable[[TaskLauncherStub], Iterator[object]], by: str
) -> None:
    whom = ALICE if by == "identity" else pki.show(site.pki / "alice.pem").fingerprint
    with site.caller("alice") as alice:
        stream = open_stream(alice)
        next(stream)
        with denying(site, whom):
            ended = refused(lambda: list(stream))
            refusal = refused(lambda: alice.GetSite(pb.GetSiteRequest()))

    assert (ended.code, ended.metadata["rule"]) == (grpc.StatusCode.PERMISSION_DENIED, "denied")
    assert (refusal.code, refusal.metadata["rule"]) == (grpc.StatusCode.PERMISSION_DENIED, "denied")


def test_who_is_denied_by_fingerprint_comes_with_another_certificate(site: TlsSite) -> None:
    pki.issue_client(site.pki, "bob-again", identity=BOB)

    with denying(site, pki.show(site.pki / "bob.pem").fingerprint):
        assert not lets_in(site, site.credentials("bob"))
        assert lets_in(site, site.credentials("bob-again"))

    assert lets_in(site, site.credentials("bob"))


def test_bad_new_settings_change_nothing(site: TlsSite) -> None:
    site.config.write_text("denied = 7\n")
    before = site.log.count("new settings cannot be used")
    os.kill(site.keeper_pid, signal.SIGHUP)
    until(lambda: site.log.count("new settings cannot be used") > before)
    site.configure()

    with site.caller("alice") as alice:
        assert alice.GetSite(pb.GetSiteRequest()).site.name


def test_a_new_certificate_is_taken_without_a_restart_and_a_bad_one_is_not(site: TlsSite) -> None:
    server = site.server_pid
    new = pki.renew(site.pki, "site").fingerprint
    until(lambda: presented(site) == new)

    before = site.log.count("new certificates cannot be used")
    good = (site.pki / "site.key").read_bytes()
    (site.pki / "site.key").write_bytes(b"junk")
    until(lambda: site.log.count("new certificates cannot be used") > before)

    assert presented(site) == new
    assert site.server_pid == server
    (site.pki / "site.key").write_bytes(good)


def test_new_authorities_are_taken_without_a_restart_and_old_ones_given_up(site: TlsSite, tmp_path: Path) -> None:
    server = site.server_pid
    newcomer, old = of_another_authority(site, tmp_path, BOB), (site.pki / "ca.pem").read_bytes()
    assert not lets_in(site, newcomer)

    trust(site, old + (tmp_path / "ca.pem").read_bytes())
    until(lambda: lets_in(site, newcomer))
    assert lets_in(site, site.credentials("alice"))

    trust(site, old)
    until(lambda: not lets_in(site, newcomer))
    assert lets_in(site, site.credentials("alice"))
    assert site.server_pid == server


def test_a_viewer_who_sees_all_sees_others_tasks_in_every_call_and_changes_none(site: TlsSite) -> None:
    with site.caller("alice") as alice:
        uid = alice.LaunchTask(launch(new_id())).task.status.uid
    site.configure(sees={VIEWER: "all", "spiffe://example.org/server/*": [ALICE]})
    os.kill(site.keeper_pid, signal.SIGHUP)
    with site.caller("viewer") as viewer, site.caller("bob") as bob:
        until(lambda: viewer.Poll(pb.PollRequest(task_ids=[uid])).statuses)

        for stub in (viewer, bob):
            hers = pb.TaskFilter(owner=ALICE, states=LIVE)
            assert [task.status.uid for task in stub.ListTasks(pb.ListTasksRequest(filter=hers)).tasks] == [uid]
            assert stub.Poll(pb.PollRequest(task_ids=[uid])).statuses[0].uid == uid
            assert next(iter(stub.WatchTasks(pb.WatchTasksRequest(filter=hers)))).changed.uid == uid
            assert next(iter(stub.ReadLogs(pb.ReadLogsRequest(task_id=uid)))).header.attempt == 1
        for change in (
            lambda: bob.StopTask(pb.StopTaskRequest(task_id=uid)),
            lambda: bob.SignalTask(pb.SignalTaskRequest(task_id=uid, signal=9)),
            lambda: bob.DeleteTask(pb.DeleteTaskRequest(task_id=uid)),
        ):
            told = refused(change)
            assert (told.reason, told.metadata["rule"]) == ("POLICY_DENIED", "grants.sees")


def test_a_certificate_that_expires_ends_open_calls_and_is_refused_on_an_open_connection(site: TlsSite) -> None:
    short = signed(site, x509.UniformResourceIdentifier(ALICE), lifetime=dt.timedelta(seconds=4))
    with site.caller(short) as alice:
        status = alice.LaunchTask(launch(new_id()), timeout=PATIENCE).task.status
        request = pb.PollRequest(task_ids=[status.task_id], wait=span(300), since_revision=status.revision + 1)
        poll = alice.Poll.future(request, timeout=PATIENCE)
        watch = alice.WatchTasks(pb.WatchTasksRequest(filter=pb.TaskFilter(owner="nobody")), timeout=PATIENCE)

        ended = [refused(poll.result), refused(lambda: [*watch]), refused(lambda: alice.GetSite(pb.GetSiteRequest()))]

    assert [(each.code, each.reason) for each in ended] == [(grpc.StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED")] * 3


def test_an_open_poll_of_somebody_who_is_denied_ends(site: TlsSite) -> None:
    with site.caller("alice") as alice:
        status = alice.LaunchTask(launch(new_id()), timeout=PATIENCE).task.status
        request = pb.PollRequest(task_ids=[status.task_id], wait=span(300), since_revision=status.revision + 1)
        poll = alice.Poll.future(request, timeout=PATIENCE)
        site.configure(denied=[ALICE])
        os.kill(site.keeper_pid, signal.SIGHUP)

        told = refused(poll.result)
        site.configure()
        os.kill(site.keeper_pid, signal.SIGHUP)

    assert (told.code, told.metadata["rule"]) == (grpc.StatusCode.PERMISSION_DENIED, "denied")


def test_health_and_reflection_are_for_who_has_a_role(site: TlsSite) -> None:
    with grpc.secure_channel(site.address, site.credentials("nobody")) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        reflection = reflection_pb2_grpc.ServerReflectionStub(channel)
        told = [
            refused(lambda: health.Check(health_pb2.HealthCheckRequest())),
            refused(lambda: [*health.Watch(health_pb2.HealthCheckRequest())]),
            refused(lambda: [*reflection.ServerReflectionInfo(iter([LIST_SERVICES]))]),
        ]
    with grpc.secure_channel(site.address, site.credentials("viewer")) as channel:
        reflection = reflection_pb2_grpc.ServerReflectionStub(channel)
        (listed,) = reflection.ServerReflectionInfo(iter([LIST_SERVICES]))

    assert [(each.code, each.reason) for each in told] == [(grpc.StatusCode.PERMISSION_DENIED, "POLICY_DENIED")] * 3
    assert listed.list_services_response.service
