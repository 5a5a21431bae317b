"""How long a site may be out of reach, and when to try it again."""

from datetime import timedelta

from farspawn._errors import CallTimeoutError, FarspawnError, SiteUnavailableError, SiteUnreachableError
from farspawn._link import Link

# What passes when the agent is restarted or the network comes back.
PASSING = (SiteUnreachableError, SiteUnavailableError, CallTimeoutError)

_FIRST_PAUSE = timedelta(milliseconds=200)
_LONGEST_PAUSE = timedelta(seconds=5)


class Outage:
    """Decides whether to try again when a site that had answered does not.

    A site that has never answered is not waited for: the address is wrong, or
    no agent runs. One that has may be upgraded or out of reach for a while, and
    its tasks run on meanwhile.
    """

    def __init__(self, link: Link) -> None:
        self._link = link
        self._since: float | None = None
        self._pause = _FIRST_PAUSE

    def over(self) -> None:
        """The site has answered."""
        self._since = None
        self._pause = _FIRST_PAUSE

    async def pause(self, error: FarspawnError) -> None:
        """Waits a little longer each time; raises `error` when patience is over."""
        if not self._link.answered:
            raise error
        now = self._link.now()
        if self._since is None:
            self._since = now
        if now - self._since >= self._link.patience.total_seconds():
            raise error
        pause = self._pause
        if isinstance(error, SiteUnavailableError) and error.retry_after is not None:
            pause = min(error.retry_after, _LONGEST_PAUSE)
        await self._link.sleep(pause)
        self._pause = min(2 * self._pause, _LONGEST_PAUSE)
