"""Start a shim: its order, its socket and its cgroup, and nothing else of ours.

Nothing here waits. What the machine has no room for costs the new run only: some descriptors are always left for
exits, stops and reloads.
"""

from __future__ import annotations

import errno
import os
import resource
import socket
from contextlib import ExitStack
from dataclasses import dataclass

from farspawn_core import Phase, SpawnError, cgroup, failpoint, shim, shim_binary
from farspawn_core._descriptors import lift
from farspawn_core._libc import posix_spawn
from farspawn_core.cgroup import Cgroup
from farspawn_core.program import candidates
from farspawn_server.keeper import runfile
from farspawn_server.keeper.messages import Failure, Spawn, User
from farspawn_server.keeper.proof import Proof

RESERVE = 32
"""Descriptors that no start may use."""
_ENDLESS = (1 << 64) - 1  # RLIM_INFINITY in C


@dataclass(frozen=True, slots=True)
class Started:
    """A shim that runs: its pid, our end of the socket, and the run's cgroup."""

    pid: int
    link: socket.socket
    group: Cgroup | None


class Starter:
    """Holds what every start needs, the shim's own binary first of all: an upgrade changes nothing for this keeper."""

    def __init__(self, proof: Proof) -> None:
        """Open all of it, and raise our own limit of descriptors as far as it goes; runs get the old one."""
        self._proof = proof
        self._binary = os.open(shim_binary.path(), os.O_RDONLY | os.O_CLOEXEC)
        # By our pid: in the child, where it is looked up, the descriptor is closed already.
        self._path = f"/proc/{os.getpid()}/fd/{self._binary}".encode()
        self._null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        self._files = soft & _ENDLESS, hard & _ENDLESS
        self.descriptors = self._files[1]
        self.home = cgroup.home()
        if self.home is not None:
            cgroup.sweep(self.home)

    def group(self, run: str) -> Cgroup | None:
        """Return the cgroup that an earlier keeper made for a run."""
        if self.home is None or not (self.home.path / run.replace("/", ".")).is_dir():
            return None
        return cgroup.make(self.home, run)

    def start(self, order: Spawn) -> Started | Failure:
        """Start the shim of a run of which nothing was ever started, or say why that cannot be."""
        try:
            with ExitStack() as opened, ExitStack() as undo:
                started = self._start(order, opened, undo)
                undo.pop_all()
                return started
        except SpawnError as error:
            return Failure(error.errno or 0, error.phase.value, str(error.filename))
        except OSError as error:
            return Failure(error.errno or errno.EIO, Phase.SPAWN.value, order.argv[0])
        except MemoryError:
            return Failure(errno.ENOMEM, Phase.SPAWN.value, order.argv[0])
        except ValueError:
            # The server's validation let something through that no process can be given.
            return Failure(errno.EINVAL, Phase.SPAWN.value, order.argv[0] if order.argv else "")

    def _start(self, order: Spawn, opened: ExitStack, undo: ExitStack) -> Started:
        """`opened` is closed in any case, `undo` only if it came to nothing."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        undo.callback(ours.close)
        opened.callback(theirs.close)
        # The kernel gives the lowest free number: so this is how many are in use.
        if max(ours.fileno(), theirs.fileno()) >= self.descriptors - RESERVE:
            raise SpawnError(errno.EMFILE, Phase.SPAWN, order.argv[0])
        ours.setblocking(False)
        group = self._new_group(order, undo)
        written = os.memfd_create("farspawn-order", os.MFD_CLOEXEC)
        opened.callback(os.close, written)
        os.write(written, shim.encode(self._order(order, group)))
        given = [self._null, self._null, self._null, written, theirs.fileno()]
        if group is not None:
            given.append(group.descriptor())
            opened.callback(os.close, given[-1])
        arguments = [shim.NAME.encode(), order.uid.encode()]
        error_number, pid = posix_spawn(self._path, arguments, [], directory=None, descriptors=lift(given, opened))
        if error_number:
            raise SpawnError(error_number, Phase.SPAWN, shim.NAME)
        failpoint.reach("keeper.spawn.started")
        return Started(pid, ours, group)

    def _order(self, order: Spawn, group: Cgroup | None) -> shim.Order:
        imposed = order.confinement
        user = imposed.user
        return shim.Order(
            run=order.uid,
            token=self._proof.token(order.uid),
            run_file=runfile.path(order.uid),
            prefix=order.prefix,
            argv=order.argv,
            env=order.env,
            cwd=order.cwd,
            programs=list(candidates(order.argv[0], search_path=order.env.get("PATH"))),
            directories=imposed.directories,
            sha256=imposed.sha256,
            open_input=order.open_input,
            merge_output=order.merge_output,
            cgroup=group is not None,
            user=None if user is None else (user.uid, user.gid, user.groups),
            log_bytes=order.log_bytes,
            mask=order.mask,
            niceness=imposed.niceness,
            oom_score_adj=imposed.oom_score_adj,
            address_space_bytes=imposed.address_space_bytes,
            cpu_seconds=imposed.cpu_seconds,
            processes=0 if "pids" in self._controllers_of(group) else imposed.processes,
            files=(imposed.open_files, imposed.open_files) if imposed.open_files else self._files,
        )

    def _new_group(self, order: Spawn, undo: ExitStack) -> Cgroup | None:
        """Make the group whose limits hold from the first instruction on."""
        imposed = order.confinement
        group = None if self.home is None else cgroup.make(self.home, order.uid)
        if group is not None:
            undo.callback(group.remove)
        has = self._controllers_of(group)
        if imposed.memory_bytes and "memory" not in has:
            raise SpawnError(errno.EOPNOTSUPP, Phase.CONFINEMENT, "memory.max")
        if imposed.processes and "pids" not in has and not _is_counted_apart(imposed.user):
            raise SpawnError(errno.EOPNOTSUPP, Phase.CONFINEMENT, "pids.max")
        if group is not None:
            try:
                group.limit(memory_bytes=imposed.memory_bytes, processes=imposed.processes if "pids" in has else 0)
            except OSError as error:
                raise SpawnError(error.errno or errno.EIO, Phase.CONFINEMENT, str(error.filename)) from error
        return group

    def _controllers_of(self, group: Cgroup | None) -> frozenset[str]:
        return frozenset() if group is None or self.home is None else self.home.controllers


def _is_counted_apart(user: User | None) -> bool:
    """Whether RLIMIT_NPROC counts none of our own threads; it does not hold for root: setrlimit(2)."""
    return user is not None and user.uid not in (0, os.geteuid())
