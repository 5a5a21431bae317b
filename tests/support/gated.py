"""A shim that is slow: between its start and its first step it waits until the test lets it go on."""

from __future__ import annotations

import os
from pathlib import Path

from farspawn_core import shim_binary
from support.waiting import until


class GatedShim:
    """The program of such shims, for FARSPAWN_SHIM."""

    def __init__(self, directory: Path, name: str, *, then: str = f"exec {shim_binary.path()}") -> None:
        """Make it; `then` is what it does when it may go on."""
        self._gate = directory / f"{name}.gate"
        os.mkfifo(self._gate)
        program = directory / f"{name}.sh"
        program.write_text(f'#!/bin/sh\necho $$ >{self._gate}.pid\nread _ <{self._gate}\n{then} "$@"\n')
        program.chmod(0o755)
        self.environment = {"FARSPAWN_SHIM": str(program)}
        self._writing = -1

    def until_waiting(self) -> None:
        """Wait until a shim waits for us."""
        until(self._is_read)

    @property
    def pid(self) -> int:
        """Of the shim that has waited last."""
        return int(Path(f"{self._gate}.pid").read_text())

    def let_go(self) -> None:
        """Have it go on."""
        os.write(self._writing, b"\n")
        os.close(self._writing)

    def _is_read(self) -> bool:
        try:
            self._writing = os.open(self._gate, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:
            return False  # nobody has opened it for reading yet
        return True
