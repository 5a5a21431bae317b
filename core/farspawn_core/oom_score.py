"""Our own oom_score_adj: how likely the kernel ends us when memory is short. See proc_pid_oom_score_adj(5)."""

from __future__ import annotations

from pathlib import Path

_OWN = Path("/proc/self/oom_score_adj")


def own() -> int:
    """Return ours; what we start inherits it."""
    return int(_OWN.read_text(encoding="ascii"))


def may_become(wanted: int) -> bool:
    """Whether the kernel lets us set ours, and so that of a child, to this.

    Anybody may raise it. How far it may be lowered is a value that nobody can read, so it is tried and taken back.
    """
    before = own()
    if wanted >= before:
        return True
    try:
        _OWN.write_text(str(wanted), encoding="ascii")
    except PermissionError:
        return False
    _OWN.write_text(str(before), encoding="ascii")
    return True
