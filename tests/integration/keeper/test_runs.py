"""What a keeper does for its server: start, signal, list, write, kill, forget, and tell how it ended."""

from __future__ import annotations

import base64
import os
import signal

from support.hanging import hung_program
from support.keeper import ServedKeeper
from support.processes import state
from support.waiting import until

from farspawn_server.keeper.messages import Answer, Failure, Forget, InputTaken, Kill, Members, Signal, Write

UID = "task/1"
WAITS = ["sh", "-c", "trap 'exit 7' TERM; echo ready; while :; do sleep 0.01; done"]


def test_an_exit_is_told_with_its_code_and_what_it_used(keeper: ServedKeeper) -> None:
    keeper.spawn(UID, ["sh", "-c", "echo out; echo err >&2; exit 3"])

    over = keeper.until_over(UID)

    assert over.ended is not None
    assert (over.ended.code, over.ended.signal, over.lost, over.failure) == (3, None, False, None)
    assert over.ended.spent is not None
    assert over.ended.spent.max_resident_bytes > 0
    assert 0 < over.started_at < over.ended.at
    assert over.outputs is not None
    assert over.outputs.written == [4, 4]
    assert (keeper.output(UID), keeper.output(UID, "stderr")) == ("out\n", "err\n")


def test_a_program_that_is_not_there_is_told_as_a_failure(keeper: ServedKeeper) -> None:
    keeper.spawn(UID, ["no-such-program"])

    assert keeper.until_over(UID).failure == Failure(2, "program", "no-such-program")


def test_a_start_that_no_process_can_be_given_is_told_as_a_failure(keeper: ServedKeeper) -> None:
    keeper.spawn("nul/1", ["echo", "a\0b"])
    keeper.spawn("name/1", ["echo"], env={"A=B": "c"})

    assert keeper.until_over("nul/1").failure == Failure(22, "spawn", "echo")
    assert keeper.until_over("name/1").failure == Failure(22, "spawn", "echo")
    assert (keeper.directory / "logs" / "nul.1").stat().st_size == 1  # nobody can be started for it any more


def test_a_signal_reaches_the_leader_and_its_answer_comes_back(keeper: ServedKeeper) -> None:
    keeper.spawn(UID, WAITS)
    until(lambda: keeper.output(UID))

    keeper.order(Signal(17, UID, signal.SIGTERM, tree=False))

    assert keeper.answer(17) == Answer(17, 1)
    ended = keeper.until_over(UID).ended
    assert ended is not None
    assert ended.code == 7


def test_members_are_listed(keeper: ServedKeeper) -> None:
    keeper.spawn(UID, ["sh", "-c", "sleep 600 & sleep 600; true"])
    keeper.until_started(UID)

    def names() -> list[str]:
        keeper.order(Members(1, UID))
        answer = keeper.answer(1)
        assert isinstance(answer, Answer)
        return sorted(name for _, name, _, _ in answer.members)

    until(lambda: names() == ["sh", "sleep", "sleep"])


def test_questions_about_an_unknown_run_are_answered_with_nothing(keeper: ServedKeeper) -> None:
    keeper.order(Signal(1, UID, signal.SIGTERM, tree=True), Members(2, UID), Write(3, UID, 0, "", end=False))

    assert [keeper.answer(number) for number in (1, 2, 3)] == [Answer(1), Answer(2), InputTaken(3, 0, closed=True)]


def test_what_is_written_arrives_and_its_end_too(keeper: ServedKeeper) -> None:
    keeper.spawn(UID, ["cat"], open_input=True)
    keeper.until_started(UID)

    keeper.order(Write(1, UID, 0, base64.b64encode(b"hello").decode(), end=True))

    assert keeper.answer(1) == InputTaken(1, 5)
    assert keeper.until_over(UID).ended is not None
    assert keeper.output(UID) == "hello"


def test_a_kill_ends_all_of_it(keeper: ServedKeeper) -> None:
    keeper.spawn(UID, ["sh", "-c", "trap '' TERM; setsid sleep 600 & sleep 600"])
    keeper.until_started(UID)

    keeper.order(Kill(UID))

    ended = keeper.until_over(UID).ended
    assert ended is not None
    assert ended.signal == signal.SIGKILL


def test_a_start_that_hangs_delays_nobody_and_can_be_killed(keeper: ServedKeeper) -> None:
    with hung_program(keeper.directory / "hung") as hung:
        keeper.spawn(UID, [hung.path])
        hung.until_executing()
        keeper.spawn("other/1", ["true"])
        keeper.until_over("other/1")

        keeper.order(Kill(UID))

        assert keeper.until_over(UID).ended or keeper.told[UID].failure


def test_a_forgotten_shim_ends_and_a_second_order_starts_nothing(keeper: ServedKeeper) -> None:
    keeper.spawn(UID, ["true"])
    keeper.until_over(UID)

    keeper.order(Forget(UID))
    until(lambda: not keeper.shims())
    keeper.told.clear()
    keeper.spawn(UID, ["true"])

    assert keeper.until_over(UID).lost


def test_an_order_that_comes_twice_starts_one(keeper: ServedKeeper) -> None:
    keeper.spawn(UID, ["sh", "-c", "echo once; sleep 600"])
    until(lambda: keeper.output(UID))
    keeper.told.clear()

    keeper.spawn(UID, ["sh", "-c", "echo twice; sleep 600"])

    assert keeper.until_started(UID).pid > 0
    assert len(keeper.shims()) == 1
    assert keeper.output(UID) == "once\n"


def test_a_shim_inherits_nothing(keeper: ServedKeeper) -> None:
    keeper.spawn(UID, ["sh", "-c", "ls /proc/self/fd; sleep 600"])
    keeper.until_started(UID)
    until(lambda: keeper.output(UID).count("\n") == 4)  # and the directory that ls reads

    (shim,) = keeper.shims()

    descriptors = {int(name) for name in os.listdir(f"/proc/{shim}/fd")} if os.geteuid() == 0 else set()
    assert len(descriptors) <= 12
    assert os.getsid(shim) == shim


def test_the_keeper_ends_when_the_server_is_done_and_its_shims_with_it(keeper: ServedKeeper) -> None:
    keeper.spawn(UID, ["true"])
    keeper.until_over(UID)
    shims = keeper.shims()

    assert keeper.end() == 0
    assert all((state(shim) or ("Z", 0))[0] == "Z" for shim in shims)
