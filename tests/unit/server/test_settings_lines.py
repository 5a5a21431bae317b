"""Where in site.toml a mistake is: table by table, dotted or not, whatever stands before it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from farspawn_server.settings import SettingsError, load

BAD = {
    "name = 7": "name",
    "naem = 'x'": "naem",
    "limits.max_live_tasks = 'x'": "limits.max_live_tasks",
    "[limits]\nmax_live_tasks = 'x'": "limits.max_live_tasks",
    "[limits]\n\n# more\n  max_lief_tasks  = 1": "limits.max_lief_tasks",
    "'limits'.'max_ended_tasks' = true": "limits.max_ended_tasks",
}
HARMLESS = ["", "# a comment", "  # name = 1", "insecure = true", 'state = "/tmp/x = [limits]"']


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(before=st.lists(st.sampled_from(HARMLESS), unique=True), bad=st.sampled_from(sorted(BAD)))
def test_the_line_and_the_key_of_a_mistake_are_named(tmp_path: Path, before: list[str], bad: str) -> None:
    config = tmp_path / "site.toml"
    config.write_text("\n".join([*before, bad, ""]))
    line = len([*before, *bad.splitlines()])

    with pytest.raises(SettingsError) as caught:
        load(str(config), {})

    assert str(caught.value).startswith(f"{config}:{line} {BAD[bad]}: ")


def test_a_mistake_in_a_flag_says_so() -> None:
    with pytest.raises(SettingsError, match="flags or environment"):
        load("", {"insecure": "perhaps"})


def test_a_file_that_is_no_utf8_is_named(tmp_path: Path) -> None:
    config = tmp_path / "site.toml"
    config.write_bytes(b"name = '\xff'")

    with pytest.raises(SettingsError, match=r"site\.toml"):
        load(str(config), {})
