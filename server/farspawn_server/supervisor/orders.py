"""What the keeper is told to start: a task's attempt, or the cleanup after it."""

from __future__ import annotations

import functools
import os
import pwd

from farspawn_server.keeper.messages import Confinement, Spawn, User
from farspawn_server.logs import DEFAULT_LOG_BYTES
from farspawn_server.task.life import Task
from farspawn_server.task.spec import Permit

_NOBODY_AT_ALL = 2**32 - 1  # (uid_t) -1, which setuid(2) refuses
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def order(task: Task) -> Spawn:
    """Return the order for the run that the task waits for now."""
    if task.ending is None:
        return _spawn(task, task.terms.argv, {}, open_input=task.terms.open_input)
    assert task.terms.cleanup is not None
    return _spawn(task, task.terms.cleanup.argv, _ending(task), cleanup=True)


def _spawn(
    task: Task,
    argv: tuple[str, ...],
    more: dict[str, str],
    *,
    open_input: bool = False,
    cleanup: bool = False,
) -> Spawn:
    permit = task.permit or Permit(task.spec)
    return Spawn(
        uid=task.run,
        argv=list(argv),
        env={**_default(permit.user), **permit.secrets, **task.terms.env, **_own(task), **more},
        cwd=task.terms.working_directory,
        prefix=f"logs/{task.uid}.{task.attempt}",
        open_input=open_input,
        merge_output=task.terms.merge_output,
        log_bytes=task.terms.resources.log_bytes or DEFAULT_LOG_BYTES,
        confinement=_confinement(permit, permit.cleanup_sha256 if cleanup else permit.sha256),
    )


def _confinement(permit: Permit, sha256: str) -> Confinement:
    resources = permit.terms.resources
    return Confinement(
        directories=list(permit.directories),
        sha256=sha256,
        user=_user(permit.user),
        address_space_bytes=resources.address_space_bytes,
        cpu_seconds=resources.cpu_seconds,
        open_files=resources.open_files,
        processes=resources.processes,
        memory_bytes=resources.memory_bytes,
        niceness=resources.niceness,
        oom_score_adj=permit.oom_score_adj,
    )


def _user(name: str) -> User | None:
    """Return whom a process is to run as; None: the agent's own user."""
    try:
        return _looked_up(name) if name else None
    except KeyError:  # removed since the settings were read: the start fails
        return User(name, _NOBODY_AT_ALL, _NOBODY_AT_ALL)


@functools.cache  # a directory service may take its time, and every launch would wait
def _looked_up(name: str) -> User:
    found = pwd.getpwnam(name)
    return User(name, found.pw_uid, found.pw_gid, os.getgrouplist(name, found.pw_gid))


@functools.cache
def _default(user_name: str) -> dict[str, str]:
    """Return the environment of a task that asks for nothing. Nothing of the agent's own is in it."""
    found = {"PATH": _PATH, "LANG": "C.UTF-8"}
    try:
        user = pwd.getpwnam(user_name) if user_name else pwd.getpwuid(os.getuid())
    except KeyError:
        return {**found, "HOME": "/"}  # a container's user need not be in its passwd
    return {**found, "HOME": user.pw_dir, "USER": user.pw_name, "LOGNAME": user.pw_name}


def _own(task: Task) -> dict[str, str]:
    return {
        "FARSPAWN_TASK_ID": task.task_id,
        "FARSPAWN_TASK_UID": task.uid,
        "FARSPAWN_ATTEMPT": str(task.attempt),
    }


def _ending(task: Task) -> dict[str, str]:
    """Return how the attempt ended, in the words of the contract."""
    assert task.ending is not None
    outcome = task.ending.outcome
    found = {"FARSPAWN_STATE": task.ending.state.name, "FARSPAWN_CAUSE": outcome.cause.name}
    if outcome.leader is not None and outcome.leader.code is not None:
        found["FARSPAWN_EXIT_CODE"] = str(outcome.leader.code)
    if outcome.leader is not None and outcome.leader.signal is not None:
        found["FARSPAWN_EXIT_SIGNAL"] = str(outcome.leader.signal)
    return found
