"""An agent whose owner has written a site.toml."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support.agent import Agent, short_directory


class PolicedSite(Agent):
    """A running agent with `directory`/site.toml."""

    def __init__(self, directory: Path, settings: str) -> None:
        self.config = directory / "site.toml"
        self.config.write_text(settings)
        super().__init__(directory, "--config", str(self.config))


@contextmanager
def policed(settings: str) -> Iterator[PolicedSite]:
    """Start an agent with these settings; `DIRECTORY` in them stands for a directory of its own."""
    with short_directory() as directory, PolicedSite(directory, settings.replace("DIRECTORY", str(directory))) as site:
        yield site
