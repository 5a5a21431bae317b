"""Who gets in over TCP, as whom, and what they may do: real certificates, real handshakes."""

from __future__ import annotations

import hashlib
import os
import signal
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from support.refused import refused
from support.tls import ALICE, TlsSite, tls_site
from support.waiting import PATIENCE, until

from farspawn import _pki as pki
from farspawn.v1 import launcher_pb2 as pb
from farspawn.v1 import task_pb2


@pytest.fixture(scope="module")
def _site() -> Iterator[TlsSite]:
    with tls_site() as site:
        yield site


@pytest.fixture
def site(_site: TlsSite) -> Iterator[TlsSite]:
    yield _site
    _site.clear()


def launch(task_id: str) -> pb.LaunchTaskRequest:
    return pb.LaunchTaskRequest(task_id=task_id, spec=task_pb2.TaskSpec(argv=["sleep", "600"]))


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
    pki.make_authority(tmp_path, name="another")
    pki.issue_client(tmp_path, "alice", identity=ALICE)
    key, chain = ((tmp_path / f"alice.{kind}").read_bytes() for kind in ("key", "pem"))
    credentials = grpc.ssl_channel_credentials((site.pki / "ca.pem").read_bytes(), key, chain)

    with site.caller(credentials) as impostor, pytest.raises(grpc.RpcError) as error:
        impostor.GetSite(pb.GetSiteRequest(), timeout=PATIENCE)

    assert error.value.code() == grpc.StatusCode.UNAVAILABLE


def test_who_has_no_role_may_do_nothing(site: TlsSite) -> None:
    with site.caller("nobody") as nobody:
        refusal = refused(lambda: nobody.GetSite(pb.GetSiteRequest()))

    assert refusal.code == grpc.StatusCode.PERMISSION_DENIED
    assert (refusal.reason, refusal.metadata["rule"]) == ("POLICY_DENIED", "grants")


def test_a_certificate_that_names_nobody_is_not_an_identity(site: TlsSite) -> None:
    # Signed by the right authority, but with a host's two names and no URI.
    pki.issue_site(site.pki, "two-names", hosts=["a.example", "b.example"])
    credentials = site.credentials("two-names")

    with site.caller(credentials) as ambiguous, pytest.raises(grpc.RpcError) as error:
        ambiguous.GetSite(pb.GetSiteRequest(), timeout=PATIENCE)

    # Its purpose is that of a server, which some TLS libraries refuse in the handshake already.
    assert error.value.code() in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.UNAVAILABLE)


def test_a_viewer_may_look_and_not_touch(site: TlsSite) -> None:
    with site.caller("viewer") as viewer:
        seen = viewer.ListTasks(pb.ListTasksRequest())
        refusal = refused(lambda: viewer.LaunchTask(launch("viewers")))

    assert list(seen.tasks) == []
    assert refusal.code == grpc.StatusCode.PERMISSION_DENIED
    assert refusal.metadata["rule"] == "roles.LaunchTask"


def test_others_tasks_do_not_exist(site: TlsSite) -> None:
    with site.caller("alice") as alice, site.caller("bob") as bob:
        task = alice.LaunchTask(launch("hers")).task

        codes = {
            refused(lambda: bob.StopTask(pb.StopTaskRequest(task_id="hers"))).code,
            refused(lambda: bob.StopTask(pb.StopTaskRequest(task_id=task.status.uid))).code,
            refused(lambda: bob.SignalTask(pb.SignalTaskRequest(task_id="hers", signal=9))).code,
            refused(lambda: bob.DeleteTask(pb.DeleteTaskRequest(task_id="hers"))).code,
        }
        polled = bob.Poll(pb.PollRequest(task_ids=["hers", task.status.uid]))
        listed = bob.ListTasks(pb.ListTasksRequest(filter=pb.TaskFilter(owner=ALICE)))
        watched = next(iter(bob.WatchTasks(pb.WatchTasksRequest())))

    assert codes == {grpc.StatusCode.NOT_FOUND}
    assert list(polled.unknown_task_ids) == ["hers", task.status.uid]
    assert list(listed.tasks) == []
    assert watched.WhichOneof("event") == "checkpoint"


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


def test_who_is_denied_is_out_from_the_next_call_and_its_streams_end(site: TlsSite) -> None:
    with site.caller("alice") as alice:
        stream = alice.WatchTasks(pb.WatchTasksRequest())
        next(iter(stream))

        site.configure(denied=[ALICE])
        os.kill(site.keeper_pid, signal.SIGHUP)
        with pytest.raises(grpc.RpcError) as ended:
            for _ in stream:
                pass
        refusal = refused(lambda: alice.GetSite(pb.GetSiteRequest()))
    site.configure()
    os.kill(site.keeper_pid, signal.SIGHUP)

    assert ended.value.code() == grpc.StatusCode.PERMISSION_DENIED
    assert refusal.metadata["rule"] == "denied"


def test_a_certificate_is_denied_by_its_fingerprint(site: TlsSite) -> None:
    site.configure(denied=[pki.show(site.pki / "bob.pem").fingerprint])
    os.kill(site.keeper_pid, signal.SIGHUP)

    with site.caller("bob") as bob:
        until(lambda: _is_refused(bob))
    site.configure()
    os.kill(site.keeper_pid, signal.SIGHUP)

    with site.caller("bob") as bob:
        assert until(lambda: not _is_refused(bob))


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


def _is_refused(stub: object) -> bool:
    try:
        stub.GetSite(pb.GetSiteRequest(), timeout=PATIENCE)  # type: ignore[attr-defined]
    except grpc.RpcError:
        return True
    return False
