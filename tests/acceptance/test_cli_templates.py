"""`farspawn` on a site whose owner has written templates."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.agent import Agent, plain_environment
from support.templated import templated_agent
from support.waiting import PATIENCE


@pytest.fixture(scope="module")
def _templated() -> Iterator[Agent]:
    with templated_agent() as agent:
        yield agent


@pytest.fixture
def agent(_templated: Agent) -> Iterator[Agent]:
    """In place of the one that all tests share."""
    yield _templated
    _templated.clear()


def farspawn(agent: Agent, *words: str, **environment: str) -> tuple[int, str, str]:
    done = subprocess.run(
        [sys.executable, "-P", "-m", "farspawn", *words],
        env={**plain_environment(), "FARSPAWN_SITE": agent.address, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def test_a_template_runs_with_what_it_is_given(agent: Agent, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("from a file\n")
    words = ("--template", "greet", "--param", "name=ada", "--param", "code=3", "--limit", "open-files=64")

    assert farspawn(agent, "run", *words, "--secret", "TOKEN", TOKEN="hunter2") == (3, "ada 3 none hunter2\n64\n", "")
    assert farspawn(agent, "run", *words, "--secret", f"TOKEN=@{token}")[1].splitlines()[0] == "ada 3 none from a file"
    listed = farspawn(agent, "ps", "-a")[1]
    assert "template greet code=3 name=ada" in listed
    assert "hunter2" not in listed + farspawn(agent, "ps", "-a", "--json")[1] + agent.log


def test_templates_are_listed(agent: Agent) -> None:
    known = json.loads(farspawn(agent, "templates", "--json")[1])
    heads, *rows = farspawn(agent, "templates")[1].splitlines()
    about = farspawn(agent, "site")[1]

    assert [template["name"] for template in known] == ["greet", "nap", "serve"]
    assert known[0]["parameters"][0]["integers"] == {"minimum": 0, "maximum": 9}
    assert heads.split() == ["TEMPLATE", "REVISION", "PARAMETERS", "DESCRIPTION"]
    assert rows[0].split()[:2] == ["greet", known[0]["revision"][:12]]
    assert "code=0..9 (default: 0), name=/[a-z]+/" in rows[0]
    assert all(row in about for row in (heads, *rows))
    assert "runs               templates\n" in about
    assert "a task's lease     at most: 1s500ms\n" in about
    assert "a task uses        at most: address-space 8G\n" in about
    assert json.loads(farspawn(agent, "site", "--json")[1])["admission"] == "TEMPLATES"


def test_a_template_that_changed_is_told(agent: Agent) -> None:
    code, _, err = farspawn(agent, "run", "--template", "nap", "--template-revision", "0" * 64)

    assert (code, "`farspawn templates --json` tells what it is now" in err) == (125, True)


def test_run_keeps_the_lease_that_the_site_wants(agent: Agent) -> None:
    assert farspawn(agent, "run", "--template", "nap") == (0, "", "")


def test_launch_waits_for_a_templates_check(agent: Agent) -> None:
    code, out, _ = farspawn(agent, "launch", "--json", "--wait-ready", "--template", "serve")

    assert (code, json.loads(out)["status"]["ready"]) == (0, True)
