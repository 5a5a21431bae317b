"""What others can change or replace is refused; what Kubernetes and OpenShift make by themselves is not."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from farspawn_server import strict

GROUP = 64_123
"""Nobody's but for whom we make it one's."""
OTHER = 65_534

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")


@pytest.fixture
def state(tmp_path: Path) -> Path:
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    (state / "logs").mkdir(mode=0o700)
    for name in ("farspawn.db", "keeper.key"):
        (state / name).touch(mode=0o600)
    return state


@pytest.fixture
def in_group() -> Iterator[None]:
    before = os.getgroups()
    os.setgroups([*before, GROUP])
    yield
    os.setgroups(before)


def test_what_is_ours_alone_has_no_problem(state: Path) -> None:
    assert strict.problem_of_state(state) == ""
    assert strict.problem(state / "keeper.key", secret=True) == ""


def test_what_is_not_there_yet_has_no_problem(tmp_path: Path) -> None:
    assert strict.problem_of_state(tmp_path / "a" / "b") == ""
    assert strict.problem(tmp_path / "a" / "site.toml") == ""


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o777, 0o1777, 0o720])
@pytest.mark.parametrize("name", ["", "logs"])
def test_a_directory_of_the_state_that_others_may_write_to_is_refused(state: Path, name: str, mode: int) -> None:
    (state / name).chmod(mode)

    assert f"{state / name} has mode {mode:04o}" in strict.problem_of_state(state)


@pytest.mark.parametrize("name", ["farspawn.db", "keeper.key"])
@pytest.mark.parametrize("mode", [0o660, 0o606])
def test_a_file_of_the_state_that_others_may_write_to_is_refused(state: Path, name: str, mode: int) -> None:
    (state / name).chmod(mode)

    assert f"{state / name} has mode {mode:04o}" in strict.problem_of_state(state)


@as_root
@pytest.mark.parametrize("name", ["", "logs", "farspawn.db", "keeper.key"])
def test_what_belongs_to_somebody_else_is_refused(state: Path, name: str) -> None:
    os.chown(state / name, OTHER, OTHER)

    assert f"{state / name} belongs to uid {OTHER}" in strict.problem_of_state(state)


@pytest.mark.parametrize("mode", [0o775, 0o757])
def test_a_directory_above_that_others_may_write_to_is_refused(tmp_path: Path, mode: int) -> None:
    above = tmp_path / "above"
    (above / "state").mkdir(parents=True)
    (above / "site.toml").touch()
    above.chmod(mode)

    for found in (strict.problem_of_state(above / "state"), strict.problem(above / "site.toml")):
        assert f"{above} has mode {mode:04o}" in found


def test_a_sticky_directory_above_is_as_good_as_any(tmp_path: Path) -> None:
    above = tmp_path / "above"
    (above / "state").mkdir(parents=True)
    (above / "state").chmod(0o700)
    above.chmod(0o1777)

    assert strict.problem_of_state(above / "state") == ""


@as_root
def test_a_directory_above_that_belongs_to_somebody_else_is_refused(tmp_path: Path) -> None:
    above = tmp_path / "above"
    (above / "state").mkdir(parents=True)
    os.chown(above, OTHER, OTHER)

    assert f"{above} belongs to uid {OTHER}" in strict.problem_of_state(above / "state")


def test_a_link_is_as_open_as_the_directory_that_holds_it(tmp_path: Path, state: Path) -> None:
    above = tmp_path / "above"
    above.mkdir()
    (above / "link").symlink_to(state)
    above.chmod(0o777)

    assert f"{above} has mode 0777" in strict.problem_of_state(above / "link")


@as_root
def test_somebody_elses_link_is_refused(tmp_path: Path, state: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(state.parent)
    os.chown(link, OTHER, OTHER, follow_symlinks=False)

    assert f"{link} belongs to uid {OTHER}" in strict.problem_of_state(link / "state")


@pytest.mark.parametrize(("mode", "word"), [(0o644, "read"), (0o602, "write")])
def test_a_key_of_ours_is_for_nobody_else(tmp_path: Path, mode: int, word: str) -> None:
    key = tmp_path / "site.key"
    key.touch()
    key.chmod(mode)

    assert f"others may {word}" in strict.problem(key, secret=True)


@as_root
@pytest.mark.usefixtures("in_group")
def test_what_kubernetes_gives_the_pods_group_is_taken_away_again_each_time(tmp_path: Path, state: Path) -> None:
    for _ in range(2):
        os.chown(tmp_path, 0, GROUP)
        tmp_path.chmod(0o2775)
        for path in (state, *state.rglob("*")):
            os.chown(path, -1, GROUP)
            path.chmod(path.stat().st_mode | (0o2770 if path.is_dir() else 0o660))
        assert strict.problem_of_state(state) == ""

        strict.close(state)

        assert {path.stat().st_mode & 0o7777 for path in (state, *state.rglob("*"))} == {0o700, 0o600}
        assert strict.problem_of_state(state) == ""


@as_root
def test_a_group_that_is_not_ours_is_nobody_elses_either(tmp_path: Path, state: Path) -> None:
    os.chown(tmp_path, 0, GROUP)
    tmp_path.chmod(0o2775)

    assert f"{tmp_path} has mode 2775" in strict.problem_of_state(state)


def test_missing_directories_are_made_for_us_alone_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        strict.make(tmp_path / "a" / "b")
    finally:
        os.umask(before)

    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "a", tmp_path / "a" / "b")} == {0o700}
