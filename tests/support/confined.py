"""An agent behind another program: as another user, in other namespaces, with other limits."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import grpc

from farspawn.v1.launcher_pb2_grpc import TaskLauncherStub
from support.agent import Agent, farspawnd, plain_environment

NOBODY = 64_000 + os.getpid() % 1_000
"""A user without rights whom no other test run is, so that its processes can be counted."""
# What it takes to execute a Python that lies in root's home, and no more: limits on processes count for it.
_READS_ALL = "+dac_override,+dac_read_search"

AS_NOBODY = (
    "setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups",
    f"--inh-caps={_READS_ALL}", f"--ambient-caps={_READS_ALL}", f"--bounding-set=-all,{_READS_ALL}",
)  # fmt: skip
"""Words that make a program run as NOBODY; they execute it in their own place. Root only."""

WITHOUT_CGROUPS = ("unshare", "--mount", "sh", "-c", 'umount --all --types cgroup2 && exec "$@"', "sh")
"""Words that make a program run where no cgroup v2 is mounted; they execute it in their own place. Root only."""


class ConfinedAgent(Agent):
    """A running farspawnd that was started by a program which executes it in its own place."""

    def __init__(self, directory: Path, prefix: Sequence[str]) -> None:
        """Start it; `prefix` is the other program, to which the agent's command is given."""
        self.directory = directory
        self.address = f"unix:{directory}/a.sock"
        self._log = directory / "agent.log"
        self._log_seen = 0
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*prefix, *farspawnd("--state", str(self.state), "--listen", self.address)],
                env=plain_environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.channel = grpc.insecure_channel(self.address)
        self.stub = TaskLauncherStub(self.channel)
        self._known = set()
        try:
            self.until_serving()
        except BaseException:
            self.close()
            raise


def why_not(prefix: Sequence[str]) -> str:
    """Return why nothing can be run behind these words here; empty: it can."""
    if shutil.which(prefix[0]) is None:
        return f"no {prefix[0]} here"
    tried = subprocess.run([*prefix, "true"], capture_output=True, text=True, check=False)
    return "" if tried.returncode == 0 else tried.stderr.strip() or f"{prefix[0]} ended with {tried.returncode}"
