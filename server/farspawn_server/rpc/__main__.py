"""Run the gRPC server; only the keeper does: `python -m farspawn_server.rpc SETTINGS`, its socket as descriptor 3."""

from __future__ import annotations

import asyncio
import functools
import logging
import os
import resource
import sqlite3
import sys
from collections.abc import Callable, Collection
from pathlib import Path
from typing import NoReturn

import msgspec

from farspawn_core import failpoint
from farspawn_core._libc import go_on_without_parent
from farspawn_server import configure, journal
from farspawn_server import settings as site_settings
from farspawn_server.audit import Trail
from farspawn_server.keeper.guard import BAD_CONFIGURATION, SERVER_SOCKET
from farspawn_server.keeper.messages import Hello
from farspawn_server.link import KeeperLink
from farspawn_server.logs import LogFiles
from farspawn_server.rpc.collector import collect_rarely
from farspawn_server.rpc.gate import Gate
from farspawn_server.rpc.launcher import Launcher
from farspawn_server.rpc.serve import Server
from farspawn_server.rpc.sockets import AddressInUseError
from farspawn_server.rpc.tls import CertificateError, Certificates
from farspawn_server.settings import Settings, SettingsError
from farspawn_server.store import Store
from farspawn_server.supervisor import Supervisor

log = logging.getLogger(__name__)

_LAST_WORDS_SECONDS = 1.0


async def serve(
    settings: Settings, read: Callable[[], Settings], check: Callable[[Settings, Collection[str]], None]
) -> int:
    """Serve until the keeper asks for the end, or ends; return the exit code.

    Args:
        settings: of now.
        read: gives the settings of then.
        check: refuses settings whose limits cannot be enforced with the controllers that there are.
    """
    state = Path(settings.state)
    drained, lost = asyncio.Event(), asyncio.Event()
    hello: Hello | None = None
    trail = Trail(state / "audit", max_file_bytes=settings.audit.max_file_bytes, max_files=settings.audit.max_files)
    store = Store(state / "farspawn.db", trail)
    gate = Gate(configure.roster(settings), store.note)
    certificates = None if settings.tls is None else Certificates(*map(Path, msgspec.structs.astuple(settings.tls)))
    supervisor = Supervisor(
        store=store,
        logs=LogFiles(state / "logs"),
        limits=configure.limits(settings),
        policy=configure.policy(settings, ()),  # nothing is launched before the keeper has said what it can limit
        drain_patience=settings.drain.patience_seconds,
    )

    def reconfigure() -> None:
        """Take what can change while we run: who is let in, and how much the site takes on."""
        try:
            # How we are reached stays as it is, and with it what that means for the policy.
            kept = {name: getattr(settings, name) for name in ("name", "state", "listen", "insecure", "tls", "audit")}
            renewed = msgspec.structs.replace(read(), **kept)
            controllers = [] if hello is None else hello.controllers
            check(renewed, controllers)
            roster, limits = configure.roster(renewed), configure.limits(renewed)
            policy = configure.policy(renewed, controllers)
        except Exception as error:  # noqa: BLE001  # whatever is wrong with new settings, the old ones serve
            log.warning("new settings cannot be used, the old ones stay", extra={"error": str(error)})
            return
        gate.renew(roster)
        supervisor.limits, supervisor.policy = limits, policy
        supervisor.drain_patience = renewed.drain.patience_seconds
        log.info("settings renewed")

    link = KeeperLink(changed=supervisor.hold, drain=drained.set, reconfigure=reconfigure, lost=lost.set)
    server = Server(
        Launcher(supervisor, gate, site_name=settings.name),
        gate,
        settings.listen,
        certificates,
        settings.limits.max_connections,
    )
    await server.start()
    watching = None if certificates is None else asyncio.create_task(certificates.watch())
    log.info("listening", extra={"addresses": list(settings.listen)})
    try:
        hello = await link.open(SERVER_SOCKET)
        check(settings, hello.controllers)
        supervisor.policy = configure.policy(settings, hello.controllers)
        await supervisor.recover(link, hello)
    except ConnectionError as error:
        # Never to be called serving: nobody is there who could start anything.
        log.warning("not recovered", extra={"error": str(error)})
        _end(1)
    collecting = asyncio.create_task(collect_rarely())
    server.report(serving=not hello.draining)
    if hello.draining:
        drained.set()

    keeper_gone, socket_gone = asyncio.create_task(lost.wait()), asyncio.create_task(server.socket_gone())
    ends = {keeper_gone, socket_gone, asyncio.create_task(drained.wait())}
    await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    begins_anew = lost.is_set() or socket_gone.done()
    if not begins_anew:
        server.report(serving=False)
        await asyncio.wait({keeper_gone, asyncio.create_task(supervisor.drain())}, return_when=asyncio.FIRST_COMPLETED)
        begins_anew = lost.is_set()
    if not begins_anew:
        link.finish()
    collecting.cancel()
    socket_gone.cancel()
    if watching is not None:
        watching.cancel()
    await supervisor.close(_LAST_WORDS_SECONDS)
    if begins_anew:
        await store.close()
        # Here and now: an orderly end of gRPC or asyncio tells CANCELLED to calls that have just come, and of those
        # nobody knows that they may be repeated, as of a connection that breaks.
        _end(1)
    await server.stop(_LAST_WORDS_SECONDS)
    await store.close()
    return 0


def main() -> int:
    """Read the settings and serve."""
    journal.to_stderr()
    # A stopped server would outlive its keeper, hold the next one's address, and later go on with a store that is not
    # its own any more. Continued, it sees that the keeper is gone, and ends. Killed, it could not store the exits that
    # the keeper has told it with its last words.
    go_on_without_parent()
    keeper = os.getppid()
    failpoint.peer = lambda: keeper if os.getppid() == keeper else 0  # a dead one's children get another parent
    given = msgspec.json.decode(sys.argv[1], type=dict[str, str | bool | list[str]])
    config = str(given.pop("config", ""))
    database = Path("farspawn.db")
    # Each open call and each followed log is a descriptor: take as many as the owner's hard limit lets us.
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        read = functools.partial(site_settings.load, config, given)
        settings = read()
        database = Path(settings.state) / database
        return asyncio.run(serve(settings, read, functools.partial(site_settings.check_enforceable, config)))
    except (sqlite3.OperationalError, OSError) as error:
        # A full disk, a file system gone read-only: it may pass, and the keeper tries again.
        print(
            f"farspawnd: {database if isinstance(error, sqlite3.Error) else database.parent}: {error}", file=sys.stderr
        )
        return 1
    except sqlite3.DatabaseError as error:
        print(
            f"farspawnd: {database}: {error}. Bring back a copy of it with its -wal; or move both away, and the site "
            "knows none of its tasks any more, and may run one again that is launched again",
            file=sys.stderr,
        )
        return BAD_CONFIGURATION
    except (SettingsError, AddressInUseError, CertificateError, ValueError) as error:
        print(f"farspawnd: {error}", file=sys.stderr)  # the last word goes to whoever started us
        return BAD_CONFIGURATION


def _end(code: int) -> NoReturn:
    sys.stderr.flush()
    # Threads of gRPC may still be unwinding: nothing is left to save, so do not wait for them.
    os._exit(code)


if __name__ == "__main__":
    _end(main())
