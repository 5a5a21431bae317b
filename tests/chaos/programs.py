"""What the tasks are: small shell scripts that behave well or badly, and write down what they do.

Each start, each exit that a program chooses, each cleanup is one line in a file that all tasks of a run append to:

    WORD TASK_ID UID ATTEMPT PID SECONDS_SINCE_BOOT VALUE

A line is one write(2) with O_APPEND, so lines never mix, and what was written before a SIGKILL stays.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from random import Random

from google.protobuf.duration_pb2 import Duration

from farspawn.v1 import task_pb2

SPEC_LABEL = "chaos/spec"

_PRELUDE = """
say() {
    read -r up rest < /proc/uptime
    echo "$1 $FARSPAWN_TASK_ID $FARSPAWN_TASK_UID $FARSPAWN_ATTEMPT $$ $up $2" >> "$evidence"
}
end() { echo "end $FARSPAWN_TASK_UID $FARSPAWN_ATTEMPT"; say exit "$1"; exit "$1"; }
evidence=$1
"""
_BEGIN = 'say start -; echo "begin $FARSPAWN_TASK_UID $FARSPAWN_ATTEMPT"\n'


def span(seconds: float) -> Duration:
    """Return a Duration."""
    duration = Duration()
    duration.FromTimedelta(timedelta(seconds=seconds))
    return duration


def random_spec(name: str, evidence: str) -> task_pb2.TaskSpec:
    """Return the spec of this name, always the same: the name is the seed."""
    dice = Random(name)
    spec = task_pb2.TaskSpec(labels={SPEC_LABEL: name}, stop=random_plan(dice))
    if not dice.randrange(24):
        _never_starts(dice, spec, evidence)
    else:
        body = dice.choice(_BODIES)(dice)
        spec.argv.extend(_shell(_BEGIN + body, evidence))
    if not dice.randrange(4):
        spec.restart.CopyFrom(
            task_pb2.RestartPolicy(
                mode=dice.choice((task_pb2.RESTART_MODE_ON_FAILURE, task_pb2.RESTART_MODE_ALWAYS)),
                max_restarts=dice.choice((0, 1, 3)),
                initial_backoff=span(dice.choice((0.05, 0.3))),
                max_backoff=span(1),
            )
        )
    if not dice.randrange(4):
        spec.cleanup.CopyFrom(task_pb2.Cleanup(argv=_cleanup(dice, evidence), timeout=span(dice.choice((0.3, 5)))))
    if not dice.randrange(6):
        spec.max_runtime.CopyFrom(span(dice.uniform(0.2, 2)))
    if not dice.randrange(6):
        action = dice.choice((task_pb2.LEASE_ACTION_STOP, task_pb2.LEASE_ACTION_KILL))
        spec.lease.CopyFrom(task_pb2.Lease(ttl=span(dice.uniform(1, 2)), action=action))
    return spec


def random_plan(dice: Random) -> task_pb2.StopPlan:
    """Return a stop plan that is over within two seconds, mostly with gaps; grace never has one, 10 s is too long."""
    return task_pb2.StopPlan(
        linger=dice.choice((None, None, span(0), span(dice.uniform(0, 0.7)))),
        drain=dice.choice((None, None, span(0), span(dice.uniform(0, 0.7)))),
        signal=dice.choice((0, 0, 0, 2, 10, 15)),
        grace=dice.choice((span(0), span(dice.uniform(0, 0.5)), span(0.5))),
    )


def _shell(script: str, evidence: str) -> list[str]:
    return ["/bin/sh", "-c", _PRELUDE + script, "chaos", evidence]


def _never_starts(dice: Random, spec: task_pb2.TaskSpec, evidence: str) -> None:
    match dice.randrange(3):
        case 0:
            spec.argv.append("/nonexistent/program")
        case 1:
            spec.argv.append("/etc/passwd")
        case _:
            spec.argv.extend(_shell(_BEGIN + "end 0", evidence))
            spec.working_directory = "/nonexistent"


def _cleanup(dice: Random, evidence: str) -> list[str]:
    said = 'say cleanup "$FARSPAWN_STATE:$FARSPAWN_EXIT_CODE:$FARSPAWN_EXIT_SIGNAL"\n'
    match dice.randrange(5):
        case 0:
            return ["/nonexistent/cleanup"]
        case 1:
            return _shell(said + "sleep 2; say cleaned 5; exit 5", evidence)
        case 2:
            return _shell(said + "sleep 20 & say cleaned 4; exit 4", evidence)
        case _:
            return _shell(said + "say cleaned 3; exit 3", evidence)


# --- bodies: each ends within twenty seconds, if nobody ends it before -----------------------------------------------


def _ends_at_once(dice: Random) -> str:
    return f"end {dice.choice((0, 0, 1, 7, 143, 255))}"


def _ends_in_a_moment(dice: Random) -> str:
    return f"sleep {dice.uniform(0.1, 4):.2f}; end {dice.choice((0, 3))}"


def _writes_much(dice: Random) -> str:
    return f"seq 1 {dice.randrange(100, 20000)}; sleep {dice.uniform(0, 1):.2f}; end 0"


def _is_killed(dice: Random) -> str:
    return f"sleep {dice.uniform(0, 1):.2f}; kill -{dice.choice((9, 15, 6, 1))} $$; end 99"


def _stops_itself(dice: Random) -> str:
    return f"(sleep {dice.uniform(1, 3):.2f}; kill -CONT $$) & kill -STOP $$; end {dice.randrange(3)}"


def _heeds_signals(dice: Random) -> str:
    return f"trap 'end 7' TERM INT USR1; sleep {dice.uniform(1, 20):.2f} & wait; end 0"


def _ignores_signals(dice: Random) -> str:
    return f"trap '' TERM INT USR1 HUP; sleep {dice.uniform(1, 20):.2f}; end 0"


def _has_children_of_their_own_sessions(dice: Random) -> str:
    rank = "trap '' TERM INT; sleep 8 & sleep 8"
    return f'setsid sh -c "{rank}" & setsid sleep 9 & sleep {dice.uniform(0.1, 3):.2f}; end {dice.randrange(2)}'


def _double_forks(dice: Random) -> str:
    return f"(setsid sh -c 'sleep 8 & sleep 9' &) ; sleep {dice.uniform(0, 3):.2f}; end 0"


def _leaves_children(dice: Random) -> str:
    return f"sleep 7 & (trap '' TERM INT; sleep 7) & end {dice.randrange(4)}"


def _leaves_a_nameless_child(dice: Random) -> str:
    return f"env -i sleep 3 & sleep {dice.uniform(0, 0.5):.2f}; end {dice.randrange(2)}"


_BODIES: tuple[Callable[[Random], str], ...] = (
    _ends_at_once,
    _ends_in_a_moment,
    _ends_in_a_moment,
    _writes_much,
    _is_killed,
    _stops_itself,
    _heeds_signals,
    _heeds_signals,
    _ignores_signals,
    _has_children_of_their_own_sessions,
    _double_forks,
    _leaves_children,
    _leaves_a_nameless_child,
)
