"""Our own OOM score: anybody may raise it, only the privileged may lower it below what they were given."""

from __future__ import annotations

import pytest
from support.apart import Apart
from support.confined import AS_NOBODY, why_not

from farspawn_core import oom_score


def test_it_may_be_raised_and_looking_changes_nothing() -> None:
    before = oom_score.own()

    assert oom_score.may_become(before)
    assert oom_score.may_become(1000)
    assert oom_score.own() == before


def test_without_privileges_it_may_not_be_lowered() -> None:
    if reason := why_not(AS_NOBODY):
        pytest.skip(f"needs root, to become somebody else: {reason}")

    assert Apart(prefix=AS_NOBODY).run(may_become_less) == [False, oom_score.own()]


def may_become_less() -> list[object]:
    return [oom_score.may_become(oom_score.own() - 1), oom_score.own()]
