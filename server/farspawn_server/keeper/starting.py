"""Start a shim: its order, its socket and its cgroup, and nothing else of ours.

Nothing here waits. What the machine has no room for costs the new run only: some descriptors are always left for
exits, stops and reloads.
"""

from __future__ import annotations

import errno
import os
import resource
import socket
from dataclasses import dataclass

from farspawn_core import Phase, SpawnError, cgroup, failpoint, shim, shim_binary
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
        self._path = f"/proc/{os.getpid()}/fd/{self._binary}"
        # The child moves what it is given one after the other. What we open later is above all that it becomes: so
        # nothing is overwritten before its turn.
        while (null := os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)) <= shim.FD_CGROUP:
            pass
        self._streams = [(os.POSIX_SPAWN_DUP2, null, stream) for stream in range(shim.FD_ORDER)]
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        self._files = soft & _ENDLESS, hard & _ENDLESS
        self.descriptors = self._files[1]
        self.home = cgroup.home()
        self._mark = f".{os.stat('.').st_ino:x}"  # agents share a home, and one may have a copy of another's runs
        if self.home is not None:
            # The group of a run whose shim has yet to dial, or is held, knows whether memory ran out.
            cgroup.sweep(self.home, keep=lambda name: os.path.lexists(runfile.path(name.removesuffix(self._mark))))

    def group(self, run: str) -> Cgroup | None:
        """Return the cgroup that an earlier keeper made for a run."""
        return None if self.home is None else cgroup.find(self.home, run + self._mark)

    def start(self, order: Spawn) -> Started | Failure:
        """Start the shim of a run of which nothing was ever started, or say why that cannot be."""
        program = order.argv[0] if order.argv else ""
        try:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
        except OSError as error:
            return Failure(error.errno or errno.EIO, Phase.SPAWN.value, program)
        group: Cgroup | None = None
        pid = 0
        try:
            self._check_room(max(ours.fileno(), theirs.fileno()), program)
            group = None if self.home is None else cgroup.make(self.home, order.uid + self._mark)
            self._limit(order, group)
            pid = self._execute(order, group, theirs.fileno())
            failpoint.reach("keeper.spawn.started")
            return Started(pid, ours, group)
        except SpawnError as error:
            return Failure(error.errno or 0, error.phase.value, str(error.filename))
        except OSError as error:
            return Failure(error.errno or errno.EIO, Phase.SPAWN.value, program)
        except MemoryError:
            return Failure(errno.ENOMEM, Phase.SPAWN.value, program)
        except ValueError:
            # The server's validation let something through that no process can be given.
            return Failure(errno.EINVAL, Phase.SPAWN.value, program)
        finally:
            theirs.close()
            if not pid:
                ours.close()
                if group is not None:
                    group.remove()

    def _check_room(self, newest: int, program: str) -> None:
        # The kernel gives the lowest free number: so this is how many are in use.
        if newest >= self.descriptors - RESERVE:
            raise SpawnError(errno.EMFILE, Phase.SPAWN, program)

    def _execute(self, order: Spawn, group: Cgroup | None, link: int) -> int:
        """Execute the shim with its order.

        By `os.posix_spawn`, which holds the GIL until the shim is executed: this process has no other thread, and the
        shim is one static file that we hold open, so nothing is searched, loaded or waited for. It closes no
        descriptor, but none of ours is inherited: `__main__` sees to it. Signals are the business of shim and leader.
        """
        descriptors = [os.memfd_create("farspawn-order", os.MFD_CLOEXEC)]
        try:
            os.write(descriptors[0], shim.encode(self._order(order, group)))
            if group is not None:
                descriptors.append(group.descriptor())
            moves = [*self._streams, (os.POSIX_SPAWN_DUP2, descriptors[0], shim.FD_ORDER)]
            moves.append((os.POSIX_SPAWN_DUP2, link, shim.FD_KEEPER))
            if group is not None:
                moves.append((os.POSIX_SPAWN_DUP2, descriptors[1], shim.FD_CGROUP))
            return os.posix_spawn(self._path, (shim.NAME, order.uid), {}, file_actions=moves, setsid=True)
        finally:
            for descriptor in descriptors:
                os.close(descriptor)

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

    def _limit(self, order: Spawn, group: Cgroup | None) -> None:
        """Set the limits that hold for all of a run together, from its first instruction on."""
        imposed = order.confinement
        if not imposed.memory_bytes and not imposed.processes:
            return
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

    def _controllers_of(self, group: Cgroup | None) -> frozenset[str]:
        return frozenset() if group is None or self.home is None else self.home.controllers


def _is_counted_apart(user: User | None) -> bool:
    """Whether RLIMIT_NPROC counts none of our own threads; it does not hold for root: setrlimit(2)."""
    return user is not None and user.uid not in (0, os.geteuid())
