"""A task's output on its way to one of ours."""

from typing import TextIO

from farspawn._cli.harmless import OutputCleaner


class TaskOutput:
    """Passes every byte as it is; but a terminal gets only what is harmless."""

    def __init__(self, ours: TextIO, *, raw: bool) -> None:
        """`raw`: a terminal gets every byte, too."""
        self._ours = ours
        self._cleaner = OutputCleaner() if ours.isatty() and not raw else None

    def write(self, data: bytes) -> None:
        """Passes on the next piece, at once."""
        self._pass(data if self._cleaner is None else self._encoded(self._cleaner.clean(data)))

    def finish(self) -> None:
        """Passes on what was held back, when nothing more comes: half a character."""
        if self._cleaner is not None:
            self._pass(self._encoded(self._cleaner.rest()))

    def _encoded(self, text: str) -> bytes:
        # What this terminal has no letter for is shown as well.
        return text.encode(self._ours.encoding, "backslashreplace")

    def _pass(self, data: bytes) -> None:
        self._ours.buffer.write(data)
        self._ours.buffer.flush()
