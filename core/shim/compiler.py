"""Compile the shim, to one static program that runs on any Linux of its machine, whatever C library that has.

By the C compiler that is there; else by the one in the `ziglang` package from PyPI, which brings headers along, and
is large: so only where it is needed. FARSPAWN_SHIM_MACHINE names another machine to
compile for, always by Zig: so releases are built, and they are the smaller for it.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
BINARY = HERE.parent / "farspawn_core" / "farspawn-shim"
RECIPE = BINARY.with_name(".farspawn-shim.recipe")
"""What BINARY was made of. pip builds a wheel twice, once for its metadata; compiling once is enough."""

ZIGLANG = "ziglang==0.17.1"
ZIG_MACHINES = ("x86_64", "aarch64")
"""Those that Zig is used for: whose wheels exist on PyPI, and whose results are tested."""

FLAGS = (
    *("-std=gnu11", "-O2", "-static", "-Wall", "-Wextra", "-Werror", "-fstack-protector-strong", "-Wl,-z,relro,-z,now"),
    *("-ffunction-sections", "-fdata-sections", "-Wl,--gc-sections", "-s"),
)
# By the compiler that is here: libc.c is the only library, so none has to be installed. The guard of the stack is in a
# variable, for there is no thread-local storage; and nothing is there that _FORTIFY_SOURCE could call.
ALONE = ("-nostdlib", "-ffreestanding", "-fno-builtin", "-mstack-protector-guard=global", "-U_FORTIFY_SOURCE")
# Zig refuses to protect the stack without a C library; it brings musl, which starts as quickly.
LIBRARY = "libc.c"
# The kernel's headers and a C library's are all that is wanted.
PROBE = "#include <linux/sched.h>\n#include <stdlib.h>\nvoid _start(void);\nvoid _start(void) { for (;;); }\n"


class NoCompilerError(RuntimeError):
    """There is nothing to compile the shim with; says what to install."""

    def __init__(self) -> None:
        super().__init__(
            "farspawn's shim is written in C, and no C compiler here can compile it.\n"
            "Install one, with the headers of the kernel and of a C library:\n"
            "  Debian, Ubuntu:  apt install gcc libc6-dev\n"
            "  Fedora, RHEL:    dnf install gcc glibc-devel\n"
            "  Alpine:          apk add gcc musl-dev linux-headers\n"
            f"or, without root, on {' or '.join(ZIG_MACHINES)}: pip install {ZIGLANG}"
        )


def requirements() -> list[str]:
    """Return what pip has to install before `compile_shim`: nothing, or Zig."""
    return [ZIGLANG] if _machine() in ZIG_MACHINES and not _compiler() else []


def tag() -> str:
    """Return the tag of a wheel with the shim in it.

    A release's names every C library, for the program needs none. What is built on the spot claims that spot only.
    """
    if machine := os.environ.get("FARSPAWN_SHIM_MACHINE"):
        return f"py3-none-manylinux_2_17_{machine}.manylinux2014_{machine}.musllinux_1_1_{machine}"
    return "py3-none-" + sysconfig.get_platform().translate(str.maketrans("-.", "__"))


def compile_shim() -> None:
    """Compile core/shim/*.c, except what is there for fuzzing, to farspawn_core/farspawn-shim, unless it is up to date.

    Raises:
        NoCompilerError: by nothing.
        subprocess.CalledProcessError: the compiler has said why.
    """
    here = _compiler()
    compiler = [*here, *FLAGS, *ALONE] if here else [*_zig(), *FLAGS]
    left_out = ("fuzz_",) if here else ("fuzz_", LIBRARY)
    sources = sorted(path for path in HERE.glob("*.c") if not path.name.startswith(left_out))
    made_of = [" ".join(compiler).encode(), *(path.read_bytes() for path in (*sources, *sorted(HERE.glob("*.h"))))]
    recipe = hashlib.sha256(b"\0".join(made_of)).hexdigest()
    if BINARY.exists() and RECIPE.exists() and RECIPE.read_text(encoding="ascii") == recipe:
        return
    RECIPE.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory(dir=BINARY.parent, prefix=".shim-") as scratch:
        program = Path(scratch) / BINARY.name
        # Zig's cache of C libraries stays no longer than it is used, unless somebody wants it to.
        environment = {"ZIG_GLOBAL_CACHE_DIR": scratch, **os.environ}
        subprocess.run([*compiler, *map(str, sources), "-o", str(program)], check=True, env=environment)
        program.chmod(0o755)
        program.replace(BINARY)  # one that runs goes on running
    RECIPE.write_text(recipe, encoding="ascii")


def _machine() -> str:
    """Return the machine to compile for. Python's, not the kernel's: that can be another in a container."""
    return os.environ.get("FARSPAWN_SHIM_MACHINE") or sysconfig.get_platform().removeprefix("linux-")


@functools.cache
def _compiler() -> tuple[str, ...]:
    """Return the command of the first C compiler here that can do it; empty: none can."""
    if "FARSPAWN_SHIM_MACHINE" in os.environ:
        return ()
    with tempfile.TemporaryDirectory() as scratch:
        source = Path(scratch) / "probe.c"
        source.write_text(PROBE, encoding="utf-8")
        for name in (os.environ.get("CC", ""), "cc", "gcc", "clang"):
            command = tuple(shlex.split(name))
            if command and shutil.which(command[0]):
                probe = [*command, *FLAGS, *ALONE, str(source), "-o", f"{scratch}/probe"]
                if subprocess.run(probe, capture_output=True, check=False).returncode == 0:
                    return command
    return ()


def _zig() -> tuple[str, ...]:
    machine = _machine()
    if machine not in ZIG_MACHINES or importlib.util.find_spec("ziglang") is None:
        raise NoCompilerError
    return (sys.executable, "-m", "ziglang", "cc", "-target", f"{machine}-linux-musl")


if __name__ == "__main__":
    compile_shim()
