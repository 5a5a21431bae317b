"""Whether only the agent's user and root can change a file, or put another in its place: OpenSSH calls it StrictModes.

What two platforms do by themselves is taken for what it is. Kubernetes makes volumes writable for the pod's fsGroup at
each mount, and marks their directories by setgid; on OpenShift the agent's user is one of many, in root's group.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

_OVERFLOW_UID = 65534
_DATABASE = ("farspawn.db", "farspawn.db-wal", "farspawn.db-shm")
_OF_STATE = (*_DATABASE, "keeper.key", "keeper.lock", "reserve", "logs", "audit")


def problem(path: Path, *, secret: bool = False) -> str:
    """Return what is wrong with a file, and how to put it right; empty: nothing, or it is not there.

    Args:
        path: of the file.
        secret: one of our own is for nobody else to read.
    """
    try:
        return _problem_of_way(path) or _problem_of_file(path, secret=secret)
    except OSError:
        return ""  # for whoever opens it to say


def problem_of_directory(path: Path) -> str:
    """Return what is wrong with a directory that is to be ours, and with the way to it; empty: nothing."""
    try:
        if found := _problem_of_way(path):
            return found
        status = path.stat()
    except OSError:
        return ""
    if not stat.S_ISDIR(status.st_mode):
        return f"{path} is no directory"
    if status.st_uid != os.geteuid():
        return f"{path} belongs to uid {status.st_uid}: it must be uid {os.geteuid()}'s. Choose another, or chown it"
    if _is_open(status) and not _is_platforms(status):
        return f"{path} {_mode(status)}: others may write to it. See what they have left there, then chmod 0700"
    return ""


def problem_of_state(state: Path) -> str:
    """Return what is wrong with a state directory, and with what of ours it holds; empty: nothing."""
    if found := problem_of_directory(state):
        return found
    try:
        closes = _is_platforms(state.stat())
        for path in _of_state(state):
            for status in (path.lstat(), path.stat()):
                if status.st_uid != os.geteuid():
                    return f"{path} belongs to uid {status.st_uid}: the agent did not make it. Remove it, or chown it"
            if _is_open(status) and not (closes and not status.st_mode & stat.S_IWOTH):
                return f"{path} {_mode(status)}: others may write to it. See whether they have, then chmod go-w"
    except OSError:
        return ""
    return ""


def close(directory: Path) -> None:
    """Take away again what Kubernetes gives the pod's group at each mount. To be called when there is no problem."""
    if _is_open(directory.stat()) and _is_platforms(directory.stat()):
        for path in _of_state(directory):
            path.chmod(0o700 if path.is_dir() else 0o600)
        directory.chmod(0o700)  # last: until then all this is done again


def make(directory: Path) -> None:
    """Make a directory, and those above it that are missing, for us alone, whatever the umask."""
    for each in (*reversed(directory.parents), directory):
        if not each.is_dir():
            each.mkdir(mode=0o700, exist_ok=True)


def _of_state(state: Path) -> Iterator[Path]:
    return (state / name for name in _OF_STATE if os.path.lexists(state / name))


def _problem_of_way(path: Path) -> str:
    """Return who could put something else in a path's place, as it is written, or as it is without links."""
    for each in {*Path(os.path.abspath(path)).parents, *Path(os.path.realpath(path)).parents}:
        if not each.exists():
            continue
        status = each.stat()
        if found := _foreign(each, each.lstat()) or _foreign(each, status):
            return found
        if _is_open(status) and not status.st_mode & stat.S_ISVTX and not _is_volume(each):
            return f"{each} {_mode(status)}: others may replace what is in it. chmod go-w, or choose another place"
    return ""


def _problem_of_file(path: Path, *, secret: bool) -> str:
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        return ""  # a pipe is whoever's who gave it to us
    if found := _foreign(path, path.lstat()) or _foreign(path, status):
        return found
    beside = path.parent.stat()
    is_the_pods = status.st_gid == beside.st_gid and _is_platforms(beside) and not status.st_mode & stat.S_IWOTH
    if _is_open(status) and not is_the_pods:
        return f"{path} {_mode(status)}: others may write to it. chmod go-w"
    readers = stat.S_IROTH if status.st_gid in _groups() else stat.S_IROTH | stat.S_IRGRP
    if secret and status.st_uid == os.geteuid() and status.st_mode & readers:
        return f"{path} {_mode(status)}: others may read it. chmod 0600"
    return ""


def _foreign(path: Path, status: os.stat_result) -> str:
    if status.st_uid in (0, os.geteuid()) or (status.st_uid == _OVERFLOW_UID and not _is_mapped(_OVERFLOW_UID)):
        return ""
    return f"{path} belongs to uid {status.st_uid}: it must be root's or uid {os.geteuid()}'s own. Choose another place"


def _is_open(status: os.stat_result) -> bool:
    return bool(status.st_mode & (stat.S_IWGRP | stat.S_IWOTH))


def _is_volume(directory: Path) -> bool:
    """Whether a platform has opened this directory: whoever is in there with us belongs to the same pod."""
    status = directory.stat()
    if status.st_mode & stat.S_IWOTH:
        return status.st_uid == 0 and os.path.ismount(directory)  # an emptyDir has mode 0777
    return _is_platforms(status)


def _is_platforms(status: os.stat_result) -> bool:
    """Whether a directory is writable for a group as Kubernetes or OpenShift make it, and for nobody else."""
    if status.st_mode & stat.S_IWOTH or status.st_gid not in _groups():
        return False
    return bool(status.st_mode & stat.S_ISGID) or (status.st_gid == 0 and os.geteuid() != 0)


def _groups() -> set[int]:
    return {os.getegid(), *os.getgroups()}


def _mode(status: os.stat_result) -> str:
    return f"has mode {stat.S_IMODE(status.st_mode):04o}"


def _is_mapped(uid: int) -> bool:
    """Whether our user namespace knows a uid; of the others' files it says that they belong to the overflow uid."""
    ranges = (map(int, line.split()) for line in Path("/proc/self/uid_map").read_text(encoding="ascii").splitlines())
    return any(first <= uid < first + count for first, _, count in ranges)
