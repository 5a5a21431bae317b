"""epoll(7), with a function for each descriptor.

An event of a descriptor that was let go of since it happened calls nobody. One whose number is somebody else's by now
calls that one: so each function must bear to be called for nothing.
"""

from __future__ import annotations

import select
import socket
from collections.abc import Callable, Iterator

READ = select.EPOLLIN
WRITE = select.EPOLLOUT
Handler = Callable[[int], None]
"""Is given what happened. Also the end of the other side and errors are READ: reading tells which."""


class Poll:
    """Belongs to the keeper's loop."""

    def __init__(self) -> None:
        """Watch nothing."""
        self._epoll = select.epoll()
        self._handlers: dict[int, Handler] = {}

    def watch(self, descriptor: int, handler: Handler) -> None:
        """Have a function called when there is something to read."""
        self._epoll.register(descriptor, READ)
        self._handlers[descriptor] = handler

    def change(self, descriptor: int, *, writing: bool) -> None:
        """Wait for room to write too, or no more."""
        self._epoll.modify(descriptor, READ | WRITE if writing else READ)

    def let_go(self, descriptor: int) -> None:
        """Watch it no more."""
        del self._handlers[descriptor]
        self._epoll.unregister(descriptor)

    def close(self, watched: socket.socket) -> None:
        """Close a socket that is watched: thereby the kernel forgets it too."""
        del self._handlers[watched.fileno()]
        watched.close()

    def wait(self, seconds: float | None) -> Iterator[tuple[Handler, int]]:
        """Wait so long at the most, and yield whom to call with what."""
        for descriptor, events in self._epoll.poll(seconds):
            if (handler := self._handlers.get(descriptor)) is not None:
                yield handler, events & WRITE | (READ if events & ~WRITE else 0)
