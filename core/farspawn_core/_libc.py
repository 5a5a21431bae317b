"""libc's posix_spawn family, called without the GIL.

`os.posix_spawn` holds the GIL until the child has executed its program, so one program on a hung mount stops every
thread; it also has no working directory and no closefrom. ctypes releases the GIL. The only promise here is the
translation of types: every function takes and gives what C does.
"""

from __future__ import annotations

import ctypes
import os
import signal

SETSIGDEF = 0x04
SETSIGMASK = 0x08
SETSID = 0x80  # the same number in glibc and musl
PR_SET_CHILD_SUBREAPER = 36
PR_SET_PDEATHSIG = 1

# glibc 2.36 needs 336 bytes for attributes, 80 for file actions and 128 for a signal set; no libc comes near these.
_ATTRIBUTES_BYTES = 1024
_FILE_ACTIONS_BYTES = 512
_SIGNAL_SET_BYTES = 256

_libc = ctypes.CDLL(None, use_errno=True)
if not hasattr(_libc, "posix_spawn_file_actions_addclosefrom_np"):
    raise ImportError(
        "farspawn needs posix_spawn_file_actions_addclosefrom_np, which glibc has since 2.34 "
        "(Debian 12, Ubuntu 22.04, RHEL 9); without it descriptors would leak into tasks"
    )

_posix_spawn = _libc.posix_spawn
_posix_spawn.argtypes = [ctypes.c_void_p] * 6
_posix_spawn.restype = ctypes.c_int


def _check(error_number: int) -> None:
    if error_number:
        raise OSError(error_number, os.strerror(error_number))


def _session_attributes() -> ctypes.Array[ctypes.c_char]:
    """Attributes of a child in a new session with every signal at its default and none blocked."""
    attributes = ctypes.create_string_buffer(_ATTRIBUTES_BYTES)
    every = ctypes.create_string_buffer(_SIGNAL_SET_BYTES)
    none = ctypes.create_string_buffer(_SIGNAL_SET_BYTES)
    _libc.sigfillset(every)
    _libc.sigemptyset(none)
    _check(_libc.posix_spawnattr_init(attributes))
    # Python ignores SIGPIPE and SIGXFSZ, and an ignored signal stays ignored over exec: `yes | head` would end in
    # "Broken pipe" noise.
    _check(_libc.posix_spawnattr_setsigdefault(attributes, every))
    _check(_libc.posix_spawnattr_setsigmask(attributes, none))
    _check(_libc.posix_spawnattr_setflags(attributes, ctypes.c_short(SETSIGDEF | SETSIGMASK | SETSID)))
    return attributes


_ATTRIBUTES = _session_attributes()  # only ever read after this: shared by all threads


def posix_spawn(
    path: bytes, argv: list[bytes], envp: list[bytes], *, directory: int | None, descriptors: list[int]
) -> tuple[int, int]:
    """Start `path` in a new session; return (error number, pid), of which one is 0.

    Args:
        path: the program; no search.
        argv: its arguments, the program's name first; without NUL bytes.
        envp: its environment as NAME=value; without NUL bytes.
        directory: a descriptor of its working directory, or None for ours.
        descriptors: descriptor i of the child is descriptors[i] here; each must be at least len(descriptors). Every
            other descriptor is closed.
    """
    actions = ctypes.create_string_buffer(_FILE_ACTIONS_BYTES)
    _check(_libc.posix_spawn_file_actions_init(actions))
    try:
        if directory is not None:
            _check(_libc.posix_spawn_file_actions_addfchdir_np(actions, directory))
        for target, source in enumerate(descriptors):
            _check(_libc.posix_spawn_file_actions_adddup2(actions, source, target))
        _check(_libc.posix_spawn_file_actions_addclosefrom_np(actions, len(descriptors)))
        pid = ctypes.c_int(0)
        error_number = _posix_spawn(
            ctypes.byref(pid),
            path,
            actions,
            _ATTRIBUTES,
            (ctypes.c_char_p * (len(argv) + 1))(*argv, None),
            (ctypes.c_char_p * (len(envp) + 1))(*envp, None),
        )
        return (error_number, 0) if error_number else (0, pid.value)
    finally:
        _libc.posix_spawn_file_actions_destroy(actions)


def become_subreaper() -> None:
    """Make this process the parent of every orphaned descendant (prctl(2), PR_SET_CHILD_SUBREAPER)."""
    if _libc.prctl(PR_SET_CHILD_SUBREAPER, ctypes.c_ulong(1), ctypes.c_ulong(0), ctypes.c_ulong(0), ctypes.c_ulong(0)):
        _check(ctypes.get_errno())


def go_on_without_parent() -> None:
    """Have this process continued, should it be stopped, when its parent's thread that started it ends (prctl(2))."""
    if _libc.prctl(PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGCONT), *[ctypes.c_ulong(0)] * 3):
        _check(ctypes.get_errno())
