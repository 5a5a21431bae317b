"""Where the output of tasks lies: one file an output and attempt, named by the site and never by a caller."""

from __future__ import annotations

import enum
import logging
import os
import shutil
from pathlib import Path

from farspawn_server.task.spec import Uid

log = logging.getLogger(__name__)


class Output(enum.Enum):
    """The two outputs of a task."""

    STDOUT = "stdout"
    STDERR = "stderr"


class LogFiles:
    """The directory of all output."""

    def __init__(self, directory: Path) -> None:
        """Make the directory if need be, for its owner only."""
        directory.mkdir(mode=0o700, exist_ok=True)
        self._directory = directory

    def path(self, uid: Uid, attempt: int, output: Output) -> Path:
        """Return where an output is; it need not be there."""
        return Path(f"{self._directory}/{uid}.{attempt}.{output.value}")

    def remove(self, uid: Uid, attempts: int) -> None:
        """Remove all output of a task that has ended."""
        for attempt in range(1, attempts + 1):
            for output in Output:
                _remove(self.path(uid, attempt, output))

    def remove_unknown(self, known: set[Uid]) -> None:
        """Remove the output of tasks that nobody knows: deletions that a crash cut short."""
        for entry in os.scandir(self._directory):
            if entry.name.partition(".")[0] not in known:
                _remove(Path(entry.path))


def _remove(path: Path) -> None:
    """Remove an output, or what a task has put in its place."""
    try:
        path.unlink(missing_ok=True)
    except IsADirectoryError:
        shutil.rmtree(path, ignore_errors=True)
    except OSError as error:
        log.warning("output not removed", extra={"path": str(path), "error": str(error)})
