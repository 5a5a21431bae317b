"""The pattern of a parameter is matched in time that grows with the value, and one that could not be is refused."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from farspawn_server.policy import Parameter
from farspawn_server.settings import SettingsError, load

EXPLODING = ["([a-z0-9]+-?)+", "(a+)+", "(a|aa)+", "(a|a)*", "(.*a){20}", "((a?){20}){20}"]


@pytest.mark.parametrize("pattern", EXPLODING)
def test_no_value_makes_a_pattern_take_long(pattern: str) -> None:
    began = time.thread_time()
    problem = Parameter(pattern).problem("a" * 4000 + "!")
    took = time.thread_time() - began

    assert problem == f"a text that matches {pattern}"
    assert took < 1  # a matcher that backtracks takes years


def test_a_pattern_matches_text_and_not_bytes() -> None:
    parameter = Parameter("Z.rich, [é-ü]+")

    assert parameter.problem("Zürich, éü") == ""
    assert parameter.problem("Zürich, éü\n")


@pytest.mark.parametrize("pattern", ["(", "(?=a)", r"(a)\1", "a{9999}"])
def test_a_pattern_that_cannot_be_matched_in_linear_time_is_refused_at_the_check(tmp_path: Path, pattern: str) -> None:
    config = tmp_path / "site.toml"
    config.write_text(f"[templates.t]\nargv = ['/bin/echo', '{{p}}']\nparameters.p.pattern = '{pattern}'\n")

    with pytest.raises(SettingsError, match=r"site.toml:3 templates.t.parameters.p.pattern: .*re2/wiki/Syntax"):
        load(str(config), {})
