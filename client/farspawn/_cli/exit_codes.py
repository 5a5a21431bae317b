"""The exit code that stands for a task's end, as a shell and Docker have it."""

import errno

from farspawn._values import LaunchPhase, Outcome, TaskStatus

NOT_THE_TASK = 125
CANNOT_BE_EXECUTED = 126
NOT_FOUND = 127


def exit_code_of(status: TaskStatus) -> int:
    """The task's exit code, 128 + n for a signal; 127, 126 or 125 for one that has none."""
    outcome = status.outcome or Outcome()
    if outcome.exit_code is not None:
        return outcome.exit_code
    if outcome.signal is not None:
        return 128 + outcome.signal
    failure = outcome.launch_failure
    if failure is None or failure.phase not in (LaunchPhase.PROGRAM, LaunchPhase.SPAWN):
        return NOT_THE_TASK
    return NOT_FOUND if failure.error_number == errno.ENOENT else CANNOT_BE_EXECUTED
