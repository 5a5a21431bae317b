"""Where a signal goes."""

from farspawn._values.wire_enum import WireEnum


class SignalScope(WireEnum):
    """Which processes of a task a signal goes to."""

    UNSPECIFIED = 0
    """Read as LEADER."""
    LEADER = 1
    """The first process."""
    TREE = 2
    """Everything the task started."""
