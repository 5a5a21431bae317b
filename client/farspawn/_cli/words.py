"""How a task is, in a few words for people."""

import os

from farspawn._cli.signals import signal_name
from farspawn._values import Cause, Outcome, TaskState, TaskStatus


def words_for(status: TaskStatus) -> str:
    """For instance `running`, `exited 3`, `killed by SIGTERM (stop requested)`. Not made harmless."""
    outcome = status.outcome
    if outcome is None:
        # A state that only a newer client knows of is one of a living task.
        return "alive" if status.state is TaskState.UNSPECIFIED else status.state.name.lower()
    words = _ending(status.state, outcome)
    if outcome.core_dumped:
        words += ", core dumped"
    if outcome.oom_killed:
        words += ", out of memory"
    if outcome.cause not in (Cause.UNSPECIFIED, Cause.COMPLETED, Cause.LAUNCH_FAILED):
        by = f" by {outcome.stopped_by}" if outcome.stopped_by else ""
        words += f" ({outcome.cause.name.lower().replace('_', ' ')}{by})"
    if outcome.survivors:
        words += f", {len(outcome.survivors)} survive"
    return words


def _ending(state: TaskState, outcome: Outcome) -> str:
    if outcome.exit_code is not None:
        return f"exited {outcome.exit_code}"
    if outcome.signal is not None:
        return f"killed by {signal_name(outcome.signal)}"
    if outcome.launch_failure is not None:
        failure = outcome.launch_failure
        return f"failed: {failure.path}: {os.strerror(failure.error_number)}"
    return f"{state.name.lower()}: {outcome.message}" if outcome.message else state.name.lower()
