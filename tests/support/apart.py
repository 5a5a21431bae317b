"""Run a function of a test file in a Python of its own, for what would harm the test process.

Closing descriptor 0, ignoring SIGCHLD, giving up root, being frozen: the function does it in a fresh interpreter, and
its return value comes back as JSON. The interpreter leads a session, which is killed when it takes too long.

The same file is the program of that interpreter: `apart.py FILE FUNCTION ARGUMENTS RESULT_DESCRIPTOR`.
"""

from __future__ import annotations

import codecs
import functools
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import ParamSpec, TypeVar, cast

_P = ParamSpec("_P")
_T = TypeVar("_T")

_TESTS = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Apart:
    """How to run functions in an interpreter of their own.

    Attributes:
        prefix: words before the interpreter's command, as of `unshare`.
        environment: added to ours; what is None is taken away.
        descriptors: inherited under the same numbers.
        timeout: in seconds.
    """

    prefix: Sequence[str] = ()
    environment: Mapping[str, str | None] = field(default_factory=dict)
    descriptors: Sequence[int] = ()
    timeout: float = 60.0

    def run(self, function: Callable[_P, _T], *arguments: _P.args, **nothing: _P.kwargs) -> _T:
        """Call a module-level function there and return what it returns; all of it must survive JSON.

        Raises:
            AssertionError: it raised, died, or took too long; the message holds what it wrote.
        """
        assert not nothing, "positional arguments only"
        environment = {**os.environ, **self.environment}
        reading, writing = os.pipe()
        with open(reading, "rb") as result, tempfile.TemporaryFile() as output:
            try:
                process = subprocess.Popen(
                    [*self.prefix, *_command(function, arguments, writing)],
                    env={name: value for name, value in environment.items() if value is not None},
                    pass_fds=(writing, *self.descriptors),
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    start_new_session=True,
                )
            finally:
                os.close(writing)
            try:
                code: int | str = process.wait(self.timeout)
            except subprocess.TimeoutExpired:
                code = f"nothing for {self.timeout} s"
            finally:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)  # what it left behind in its group, or itself
                process.wait()
            output.seek(0)
            assert code == 0, f"{function.__name__}: {code}\n{output.read().decode(errors='replace')}"
            return cast("_T", json.loads(result.read()))


def _command(function: Callable[..., object], arguments: Sequence[object], result: int) -> list[str]:
    file = function.__code__.co_filename
    return [sys.executable, __file__, file, function.__name__, json.dumps(arguments), str(result)]


apart = Apart()


@functools.cache
def own_pid_namespace() -> Sequence[str]:
    """Return the prefix that gives an interpreter pids of its own, as pid 1; empty where the kernel refuses."""
    flags = ("--pid", "--fork", "--kill-child", "--mount-proc")
    if program := shutil.which("unshare"):
        for prefix in ((program, *flags), (program, "--user", "--map-root-user", *flags)):
            if subprocess.run([*prefix, "true"], stderr=subprocess.DEVNULL, check=False).returncode == 0:
                return prefix
    return ()


def give_up_root() -> int:
    """Become a user without rights, if this is root; return the user id. Apart only: there is no way back."""
    if os.geteuid() == 0:
        # Not one of the well-known users, so that its processes can be counted; another for each interpreter.
        user = 61_000 + os.getpid() % 3_000
        codecs.lookup("ascii")  # a codec is imported when it is first used, and this Python may lie in root's home
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
    return os.geteuid()


def main() -> None:
    file, name, arguments, result = sys.argv[1:]
    sys.path[0] = str(_TESTS)  # what pytest's `pythonpath` does
    spec = importlib.util.spec_from_file_location("apart_program", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["apart_program"] = module
    spec.loader.exec_module(module)
    value = getattr(module, name)(*json.loads(arguments))
    with open(int(result), "w", encoding="utf-8") as file_:
        json.dump(value, file_)


if __name__ == "__main__":
    main()
