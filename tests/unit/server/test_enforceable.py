"""Limits that the site cannot enforce: refused at the launch, and a mistake in the settings."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import msgspec
import pytest

from farspawn_core import oom_score
from farspawn_server import configure
from farspawn_server.policy import LOCAL, Policy
from farspawn_server.policy.enforceable import unenforceable
from farspawn_server.settings import SettingsError, check_enforceable, load
from farspawn_server.task.errors import LimitUnsupportedError
from farspawn_server.task.spec import Resources, Spec

OTHER_USER = next(each.pw_name for each in pwd.getpwall() if each.pw_uid not in (0, os.geteuid()))


@pytest.mark.parametrize(
    ("controllers", "user", "missing"),
    [
        ([], "", {"memory_bytes", "processes"}),
        (["memory"], "", {"processes"}),
        (["pids"], "", {"memory_bytes"}),
        (["memory", "pids"], "", set()),
        ([], OTHER_USER, {"memory_bytes"}),
        ([], "root", {"memory_bytes", "processes"}),
        ([], pwd.getpwuid(os.geteuid()).pw_name, {"memory_bytes", "processes"}),
    ],
)
def test_what_needs_a_controller_needs_it(controllers: list[str], user: str, missing: set[str]) -> None:
    assert set(unenforceable(controllers, user)) == missing


@pytest.mark.parametrize("name", ["memory_bytes", "processes"])
def test_a_launch_that_asks_for_what_cannot_be_enforced_is_refused_by_the_fields_name(name: str) -> None:
    policy = Policy(unenforceable=unenforceable([], ""))
    spec = Spec(argv=("/bin/true",), resources=Resources(**{name: 1 << 30}))

    with pytest.raises(LimitUnsupportedError, match=r"deploy/README\.md") as caught:
        policy.permit(LOCAL, spec, {})

    assert caught.value.metadata == {"field": f"spec.resources.{name}"}


def test_a_launch_that_asks_for_nothing_of_it_is_let_in() -> None:
    policy = Policy(unenforceable=unenforceable([], ""))

    assert policy.permit(LOCAL, Spec(argv=("/bin/true",), resources=Resources(open_files=10)), {}) is None


@pytest.mark.parametrize("table", ["ceilings", "templates.nap.limits"])
@pytest.mark.parametrize("name", ["memory_bytes", "processes"])
def test_a_limit_in_the_settings_that_cannot_be_enforced_is_named_with_its_line(
    tmp_path: Path, table: str, name: str
) -> None:
    config = tmp_path / "site.toml"
    config.write_text(f"[templates.nap]\nargv = ['/bin/sleep', '1']\n[{table}]\n{name} = 100\n")
    settings = load(str(config), {})

    with pytest.raises(SettingsError, match="cannot enforce") as caught:
        check_enforceable(str(config), settings, [])

    assert str(caught.value).startswith(f"{config}:4 {table}.{name}: ")
    check_enforceable(str(config), settings, ["memory", "pids"])


@pytest.mark.parametrize(
    ("given", "own", "kept"), [(None, 0, 500), (None, 900, 900), (-7, 0, -7), (0, 900, 0), (1000, 0, 1000)]
)
def test_tasks_have_the_oom_score_that_the_owner_gives_them_or_one_no_lower_than_the_agents(
    monkeypatch: pytest.MonkeyPatch, given: int | None, own: int, kept: int
) -> None:
    monkeypatch.setattr(oom_score, "own", lambda: own)
    settings = load("", {})
    settings = msgspec.structs.replace(settings, policy=msgspec.structs.replace(settings.policy, oom_score_adj=given))

    assert configure.policy(settings, ()).oom_score_adj == kept


@pytest.mark.parametrize("score", [-1001, 1001])
def test_an_oom_score_that_the_kernel_does_not_know_is_a_mistake(tmp_path: Path, score: int) -> None:
    config = tmp_path / "site.toml"
    config.write_text(f"[policy]\noom_score_adj = {score}\n")

    with pytest.raises(SettingsError, match="-1000 to 1000"):
        load(str(config), {})
