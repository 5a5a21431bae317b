"""Messages that were written once, for all who ask: the newest revision of each, as far as there is room."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable


class Written:
    """Used from one event loop."""

    def __init__(self, most_bytes: int) -> None:
        """Keep no more than so many bytes; the oldest go first."""
        self._most_bytes = most_bytes
        self._bytes = 0
        self._known: OrderedDict[Hashable, tuple[int, bytes]] = OrderedDict()

    def get(self, key: Hashable, revision: int, write: Callable[[], bytes]) -> bytes:
        """Return what `write` gives for this revision, or gave when it was asked for before."""
        found, known = self._known.get(key, (0, b""))
        if found != revision:
            self._bytes -= len(known)
            known = write()
            self._known[key] = revision, known
            self._known.move_to_end(key)
            self._bytes += len(known)
            while self._bytes > self._most_bytes:
                _, (_, oldest) = self._known.popitem(last=False)
                self._bytes -= len(oldest)
        return known
