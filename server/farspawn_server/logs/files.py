"""Where the output of tasks lies: files named by the site and never by a caller.

Of each attempt: UID.N.stdout and UID.N.stderr, made when their first byte comes; UID.N, its run file, which tells when
bytes came; and UID.N.cleanup, that of its cleanup, which writes to the end of the same outputs.
"""

from __future__ import annotations

import enum
import logging
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from farspawn_server.task.life import EARLIER_ATTEMPTS_KEPT
from farspawn_server.task.spec import Uid

log = logging.getLogger(__name__)


class Output(enum.Enum):
    """The two outputs of a task."""

    STDOUT = "stdout"
    STDERR = "stderr"

    @property
    def place(self) -> int:
        """Its place where something is told of both."""
        return 0 if self is Output.STDOUT else 1


class LogFiles:
    """The directory of all output."""

    def __init__(self, directory: Path) -> None:
        """Make the directory if need be, for its owner only."""
        directory.mkdir(mode=0o700, exist_ok=True)
        self._directory = directory

    def path(self, uid: Uid, attempt: int, output: Output) -> Path:
        """Return where an output is; it need not be there."""
        return Path(f"{self._directory}/{uid}.{attempt}.{output.value}")

    def runs(self, uid: Uid, attempt: int) -> tuple[Path, Path]:
        """Return where the run files of an attempt and of its cleanup are; they need not be there."""
        return Path(f"{self._directory}/{uid}.{attempt}"), Path(f"{self._directory}/{uid}.{attempt}.cleanup")

    def remove(self, uid: Uid, attempts: int) -> None:
        """Remove all that is kept of a task that has ended."""
        for attempt in range(_oldest_kept(attempts), attempts + 1):
            self.remove_attempt(uid, attempt)

    def remove_attempt(self, uid: Uid, attempt: int) -> None:
        """Remove all that there is of an attempt."""
        # The run files last: while they are there, an attempt is known to have been begun.
        for path in (*(self.path(uid, attempt, each) for each in Output), *self.runs(uid, attempt)):
            _remove(path)

    def remove_unknown(self, attempts: Mapping[Uid, int]) -> None:
        """Remove what a crash kept from being removed.

        Args:
            attempts: how many each known task has made; all that is not of the newest of them goes.
        """
        for entry in os.scandir(self._directory):
            uid, _, rest = entry.name.partition(".")
            attempt = rest.partition(".")[0]
            made = attempts.get(Uid(uid))
            if made is None or (attempt.isdecimal() and int(attempt) < _oldest_kept(made)):
                _remove(Path(entry.path))


def _oldest_kept(attempts: int) -> int:
    return max(1, attempts - EARLIER_ATTEMPTS_KEPT)


def _remove(path: Path) -> None:
    """Remove an output, or what a task has put in its place."""
    try:
        path.unlink(missing_ok=True)
    except IsADirectoryError:
        shutil.rmtree(path, ignore_errors=True)
    except OSError as error:
        log.warning("output not removed", extra={"path": str(path), "error": str(error)})
