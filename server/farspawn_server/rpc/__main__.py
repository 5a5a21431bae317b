"""Run the gRPC server; only the keeper does: `python -m farspawn_server.rpc SETTINGS`, its socket as descriptor 3."""

from __future__ import annotations

import asyncio
import logging
import os
import resource
import sqlite3
import sys
from pathlib import Path
from typing import NoReturn

import msgspec

from farspawn_core import failpoint
from farspawn_core._libc import go_on_without_parent
from farspawn_server import journal
from farspawn_server import settings as site_settings
from farspawn_server.keeper.guard import BAD_CONFIGURATION, SERVER_SOCKET
from farspawn_server.link import KeeperLink
from farspawn_server.logs import LogFiles
from farspawn_server.policy import Limits
from farspawn_server.rpc.launcher import Launcher
from farspawn_server.rpc.serve import AddressInUseError, Server
from farspawn_server.settings import Settings, SettingsError
from farspawn_server.store import Store
from farspawn_server.supervisor import Supervisor

log = logging.getLogger(__name__)

_LAST_WORDS_SECONDS = 1.0


async def serve(settings: Settings) -> int:
    """Serve until the keeper asks for the end, or ends; return the exit code."""
    state = Path(settings.state)
    drained, lost = asyncio.Event(), asyncio.Event()
    store = Store(state / "farspawn.db")
    limits = Limits(**msgspec.structs.asdict(settings.limits))
    supervisor = Supervisor(store=store, logs=LogFiles(state / "logs"), limits=limits)
    link = KeeperLink(changed=supervisor.hold, drain=drained.set, lost=lost.set)
    server = Server(Launcher(supervisor, site_name=settings.name), settings.listen)
    await server.start()
    log.info("listening", extra={"address": settings.listen})
    hello = await link.open(SERVER_SOCKET)
    await supervisor.recover(link, hello)
    await server.report(serving=not hello.draining)
    if hello.draining:
        drained.set()

    keeper_gone = asyncio.create_task(lost.wait())
    await asyncio.wait({keeper_gone, asyncio.create_task(drained.wait())}, return_when=asyncio.FIRST_COMPLETED)
    if not lost.is_set():
        await server.report(serving=False)
        await asyncio.wait({keeper_gone, asyncio.create_task(supervisor.drain())}, return_when=asyncio.FIRST_COMPLETED)
    if not lost.is_set():
        link.finish()
    await supervisor.close(_LAST_WORDS_SECONDS)
    if lost.is_set():
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
    given = msgspec.json.decode(sys.argv[1], type=dict[str, str | bool])
    config = str(given.pop("config", ""))
    # Each open call and each followed log is a descriptor: take as many as the owner's hard limit lets us.
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        return asyncio.run(serve(site_settings.load(config, given)))
    except sqlite3.OperationalError as error:
        # A full disk, a file system gone read-only: it may pass, and the keeper tries again.
        print(f"farspawnd: {given.get('state', '')}: {error}", file=sys.stderr)
        return 1
    except (SettingsError, AddressInUseError, ValueError, sqlite3.DatabaseError) as error:
        print(f"farspawnd: {error}", file=sys.stderr)  # the last word goes to whoever started us
        return BAD_CONFIGURATION


def _end(code: int) -> NoReturn:
    sys.stderr.flush()
    # Threads of gRPC may still be unwinding: nothing is left to save, so do not wait for them.
    os._exit(code)


if __name__ == "__main__":
    _end(main())
