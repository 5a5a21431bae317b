"""From what the server says of a confinement to what the core carries out."""

from __future__ import annotations

import farspawn_core
from farspawn_core.cgroup import Cgroup
from farspawn_server.keeper.messages import Confinement


def confinement(order: Confinement, group: Cgroup | None) -> farspawn_core.Confinement:
    """Return what the core is to impose on a process that is to be born into `group`, if there is one."""
    return farspawn_core.Confinement(
        directories=order.directories,
        sha256=order.sha256,
        user=order.user,
        address_space_bytes=order.address_space_bytes,
        cpu_seconds=order.cpu_seconds,
        open_files=order.open_files,
        processes=order.processes,
        niceness=order.niceness,
        cgroup="" if group is None else group.path,
    )
