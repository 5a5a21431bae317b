"""The fork counter: a C library for LD_PRELOAD that counts every fork of the process it is loaded into.

Tasks that inherit the environment count too: the file's lines tell the processes apart.
"""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_SOURCE = Path(__file__).with_name("atfork_counter.c")


class NoCompilerError(Exception):
    """This machine has no C compiler; the message says what was looked for."""


@dataclass(frozen=True, slots=True)
class AtforkCounter:
    """The built library, and the file that processes with it write to.

    Attributes:
        library: the shared object.
        file: one line "PID NAME" for each fork.
    """

    library: Path
    file: Path

    @property
    def environment(self) -> Mapping[str, str]:
        """What a process must have in its environment for its forks to be counted."""
        return {"LD_PRELOAD": str(self.library), "ATFORK_COUNT_FILE": str(self.file)}

    def forks(self, pid: int | None = None) -> list[str]:
        """Return the lines of all forks, or of those of one process."""
        if not self.file.exists():
            return []
        lines = self.file.read_text(encoding="utf-8").splitlines()
        return [line for line in lines if pid is None or line.startswith(f"{pid} ")]


def build(directory: Path, *, file: Path) -> AtforkCounter:
    """Compile the library into `directory`, unless it is there.

    Raises:
        NoCompilerError: there is no cc.
    """
    library = directory / "atfork_counter.so"
    if not library.exists():
        compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
        if compiler is None:
            raise NoCompilerError("no C compiler (cc, gcc or clang) to build the fork counter with")
        flags = ("-O2", "-Wall", "-Werror", "-D_GNU_SOURCE", "-fPIC", "-shared", "-pthread")
        subprocess.run([compiler, *flags, "-o", str(library), str(_SOURCE)], check=True)
    return AtforkCounter(library, file)


def count() -> int:
    """Return how often this process has forked. Only where the library is preloaded."""
    function = ctypes.CDLL(None).atfork_count
    function.restype = ctypes.c_long
    return int(function())
