"""Confine this process by a plan, and execute the program in its place. A program: see `farspawn_core.executor`.

`python -I -S executor_main.py N`: the program's descriptors are 0 to N - 1, N holds the plan, and N + 1 takes a zero
byte just before the execution, and the error number, phase and file if anything fails. It may be root here and the
command a stranger's: nothing of the command acts before the program is executed. It imports little, all of it at once:
each module costs a task's start, and the user that it becomes may not be able to read this Python.
"""

from __future__ import annotations

import ctypes
import errno
import marshal
import os
import pwd
import resource
import stat
import sys

TYPE_CHECKING = False  # `typing` alone takes milliseconds
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_PR_SET_NO_NEW_PRIVS = 38
# The module `signal` takes milliseconds. These two are ignored by Python, and would stay so.
_SIGPIPE, _SIGXFSZ = 13, 25
_SIG_DFL, _SIG_IGN = ctypes.c_void_p(0), ctypes.c_void_p(1)
_NOT_EXECUTED = 127

_libc = ctypes.CDLL(None, use_errno=True)


class _Failed(Exception):  # noqa: N818  # it never leaves this file
    """What could not be done."""


def main() -> None:
    """Carry out the plan; return only if that failed, with the report written."""
    count = int(sys.argv[1])
    report = count + 1
    os.set_inheritable(report, False)
    with open(count, "rb") as file:
        plan = marshal.load(file)  # noqa: S302  # our own parent wrote it
    try:
        _carry_out(plan, report)
    except _Failed as failed:
        _say(report, b"%d\0%b\0%b" % failed.args)


def _carry_out(plan: dict[str, Any], report: int) -> None:
    if plan["cgroup"]:
        _join(plan["cgroup"])
    if plan["niceness"]:
        _try(b"confinement", b"niceness", os.nice, plan["niceness"])
    # Before the user changes: the kernel looks at the number of its processes when this one becomes one of them.
    _limit(b"processes", resource.RLIMIT_NPROC, plan["processes"])
    if plan["user"]:
        _try(b"confinement", os.fsencode(plan["user"]), _become, plan["user"])
        _try(b"working_directory", plan["directory"], _check_directory)
    name = plan["arguments"][0]
    program = _try(b"program", name, _find, plan["candidates"], b"/" in name)
    environment = dict(variable.split(b"=", 1) for variable in plan["environment"])
    _limit(b"cpu_seconds", resource.RLIMIT_CPU, plan["cpu_seconds"], 1)  # SIGXCPU first, which says why
    _limit(b"open_files", resource.RLIMIT_NOFILE, plan["open_files"])
    _limit(b"address_space_bytes", resource.RLIMIT_AS, plan["address_space_bytes"])  # last: it binds us too
    _say(report, b"\0")
    for number in (_SIGPIPE, _SIGXFSZ):
        _libc.signal(number, _SIG_DFL)
    _try(b"spawn", program, os.execve, program, plan["arguments"], environment)


def _try(phase: bytes, subject: bytes, step: Callable[..., Any], *arguments: object) -> Any:  # noqa: ANN401  # as `step`
    try:
        return step(*arguments)
    except OSError as error:
        number = error.errno
    except MemoryError:
        number = errno.ENOMEM
    except (ValueError, OverflowError):
        number = errno.EINVAL
    raise _Failed(number, phase, subject)


def _say(report: int, what: bytes) -> None:
    """Tell who started us, if it still lives: if not, it is found out otherwise, and the program runs all the same."""
    _libc.signal(_SIGPIPE, _SIG_IGN)
    try:  # noqa: SIM105  # contextlib takes milliseconds
        os.write(report, what)
    except BrokenPipeError:
        pass


def _join(cgroup: bytes) -> None:
    """Move into a group. If the kernel does not let us, the other limits must do."""
    try:
        descriptor = os.open(cgroup + b"/cgroup.procs", os.O_WRONLY | os.O_CLOEXEC)
        os.write(descriptor, b"0")  # whoever writes it
        os.close(descriptor)
    except OSError:
        pass


def _limit(name: bytes, which: int, most: int, more: int = 0) -> None:
    if most:
        _try(b"confinement", name, _set_limit, which, most, more)


def _set_limit(which: int, most: int, more: int) -> None:
    if most < 0:
        raise ValueError("to setrlimit(2) that is no limit at all")
    _, hard = resource.getrlimit(which)
    if hard == resource.RLIM_INFINITY:
        hard = most + more
    resource.setrlimit(which, (min(most, hard), min(most + more, hard)))


def _become(name: str) -> None:
    """Become a user, for good."""
    try:
        user = pwd.getpwnam(name)
    except KeyError:
        raise OSError(errno.ENOENT, "no such user") from None
    uid, gid = user.pw_uid, user.pw_gid
    if uid and os.getresuid() == (uid, uid, uid) and os.getresgid() == (gid, gid, gid):
        return
    os.initgroups(name, gid)
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    if uid == 0:
        return
    # No capability, so no way back by a call; no new privileges, so none by executing a set-user-ID program.
    if _permitted_capabilities() or os.getresuid() != (uid, uid, uid) or os.getresgid() != (gid, gid, gid):
        raise PermissionError(errno.EPERM, "still privileged")
    zero = ctypes.c_ulong(0)
    if _libc.prctl(_PR_SET_NO_NEW_PRIVS, ctypes.c_ulong(1), zero, zero, zero):
        raise OSError(ctypes.get_errno(), "prctl")


def _permitted_capabilities() -> int:
    with open("/proc/self/status", "rb") as file:
        for line in file:
            if line.startswith(b"CapPrm:"):
                return int(line.split()[1], 16)
    raise OSError(errno.EIO, "no CapPrm in /proc/self/status")


def _check_directory() -> None:
    """Refuse to be where this user could not have gone: a root put us here."""
    here = os.stat(b".")
    if not os.path.samestat(here, os.stat(os.getcwdb() + b"/.")):
        raise OSError(errno.ESTALE, "moved meanwhile")


def _find(candidates: list[bytes], is_path: bool) -> bytes:
    """Do what `farspawn_core.program.find_program` does, as the user that this process is by now."""
    worst = errno.ENOENT
    for candidate in candidates:
        problem = _problem(candidate)
        if not problem:
            return candidate
        if problem == errno.EACCES or is_path:
            worst = problem
    raise OSError(worst, "not found")


def _problem(path: bytes) -> int:
    try:
        found = os.stat(path)
    except OSError as error:
        return error.errno or errno.EIO
    executable = stat.S_ISREG(found.st_mode) and os.access(path, os.X_OK, effective_ids=True)
    return 0 if executable else errno.EACCES


if __name__ == "__main__":
    main()
    os._exit(_NOT_EXECUTED)
