"""How a task is: in a few words for people, and in the exit code that stands for its end."""

import errno
import os
import shlex
from datetime import timedelta

from farspawn._cli.parsing import SIGNAL_NAMES
from farspawn._values import (
    Cause,
    CleanupOutcome,
    LaunchPhase,
    LogStream,
    OomKill,
    Outcome,
    TaskSpec,
    TaskState,
    TaskStatus,
)

_OOM_KILL = {OomKill.YES: ", out of memory", OomKill.LIKELY: ", likely out of memory"}

NOT_THE_TASK = 125
CANNOT_BE_EXECUTED = 126
NOT_FOUND = 127


def words_for(status: TaskStatus) -> str:
    """For instance `running, ready`, `exited 3`, `killed by SIGTERM (stop requested)`. Not made harmless."""
    attempt = f", attempt {status.attempt}" if status.attempt > 1 else ""
    if status.outcome is not None:
        return _end(status.state, status.outcome) + attempt
    # A state that only a newer client knows of is one of a living task.
    words = "alive" if status.state is TaskState.UNSPECIFIED else status.state.name.lower()
    words += ", ready" if status.ready else ""
    words += f", output waits: {status.output_error}" if status.output_error else ""
    words += f", cannot end {', '.join(str(each.pid) for each in status.unkillable)}" if status.unkillable else ""
    return words + attempt


def _end(state: TaskState, outcome: Outcome) -> str:
    words = _ending(state, outcome)
    if outcome.core_dumped:
        words += ", core dumped"
    words += _OOM_KILL.get(outcome.oom_kill, "")
    if outcome.cause not in (Cause.UNSPECIFIED, Cause.COMPLETED, Cause.LAUNCH_FAILED):
        by = f" by {outcome.stopped_by}" if outcome.stopped_by else ""
        words += f" ({outcome.cause.name.lower().replace('_', ' ')}{by})"
    if outcome.survivors:
        words += f", {len(outcome.survivors)} survive"
    if outcome.cleanup is not None and outcome.cleanup.exit_code != 0:
        words += f", cleanup {_cleanup(outcome.cleanup)}"
    return words


def _cleanup(outcome: CleanupOutcome) -> str:
    if outcome.timed_out:
        return "timed out"
    as_a_task = Outcome(outcome.exit_code, outcome.signal, launch_failure=outcome.launch_failure)
    return _ending(TaskState.LOST, as_a_task)


def _ending(state: TaskState, outcome: Outcome) -> str:
    if outcome.exit_code is not None:
        return f"exited {outcome.exit_code}"
    if outcome.signal is not None:
        return f"killed by {signal_name(outcome.signal)}"
    if outcome.launch_failure is not None:
        failure = outcome.launch_failure
        return f"failed: {failure.path}: {os.strerror(failure.error_number)}"
    return f"{state.name.lower()}: {outcome.message}" if outcome.message else state.name.lower()


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


def signal_name(number: int) -> str:
    """`SIGTERM` for 15; `signal 40` for one that has no name."""
    return f"SIG{SIGNAL_NAMES[number - 1]}" if 1 <= number <= len(SIGNAL_NAMES) else f"signal {number}"


def span_text(span: timedelta) -> str:
    """Roughly, in one unit, for people."""
    seconds = max(0, int(span.total_seconds()))
    for unit, length in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length}{unit}"
    return f"{seconds}s"


def span_exactly(span: timedelta) -> str:
    """As it is written on the command line, for instance `1h30m`."""
    left = span // timedelta(milliseconds=1)
    words = ""
    for unit, length in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)):
        count, left = divmod(left, length)
        words += f"{count}{unit}" if count else ""
    return words or "0s"


def size_text(size: int) -> str:
    """As it is written on the command line, for instance `512M`: in the largest unit without a fraction."""
    for unit, length in (("T", 1 << 40), ("G", 1 << 30), ("M", 1 << 20), ("k", 1 << 10)):
        if size and size % length == 0:
            return f"{size // length}{unit}"
    return str(size)


def command_of(spec: TaskSpec) -> str:
    """The command as a shell would take it; of a template, its name and what it was given."""
    if not spec.template:
        return shlex.join(spec.argv)
    given = (f"{name}={value}" for name, value in sorted(spec.parameters.items()))
    return shlex.join(("template", spec.template, *given))


def lost_text(stream: LogStream, lost: int) -> str:
    """What is said after an output of which bytes were lost."""
    return f"{lost} bytes of {stream.name.lower()} were lost: no file took them, the site's disk may be full"
