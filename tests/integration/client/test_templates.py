"""What a site's owner has written, and what of it a caller is given, on a real agent."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
from support.agent import Agent
from support.tasks import new_id
from support.templated import ADDRESS_SPACE_BYTES, TTL_SECONDS, templated_agent

import farspawn
from farspawn import (
    Admission,
    IntegerRange,
    NotReadyError,
    Parameter,
    PolicyDeniedError,
    Resources,
    SpecInvalidError,
    TaskIdReusedError,
    TemplateChangedError,
)


@pytest.fixture(scope="module")
def _templated() -> Iterator[Agent]:
    with templated_agent() as agent:
        yield agent


@pytest.fixture
def agent(_templated: Agent) -> Iterator[Agent]:
    """In place of the one that all tests share."""
    yield _templated
    _templated.clear()


def output(process: farspawn.Process) -> bytes:
    return b"".join(chunk.data for chunk in process.logs(follow=True))


def test_a_template_is_found_and_launched_without_a_command(site: farspawn.Client) -> None:
    about = site.site()
    greet = next(template for template in about.templates if template.name == "greet")

    process = site.launch(
        template="greet",
        parameters={"name": "ada", "code": 4},
        template_revision=greet.revision,
        env={"WORD": "hi"},
        secrets={"TOKEN": "hunter2"},
        resources=Resources(open_files=64),
    )

    assert (process.wait(), output(process)) == (4, b"ada 4 hi hunter2\n64\n")
    assert (about.admission, [template.name for template in about.templates]) == (
        Admission.TEMPLATES,
        ["greet", "nap", "serve"],
    )
    assert greet.parameters == (
        Parameter("code", integers=IntegerRange(0, 9), default_value="0"),
        Parameter("name", pattern="[a-z]+"),
    )
    task = next(task for task in site.list_tasks() if task.status.task_id == process.task_id)
    assert (task.spec.argv, task.spec.template, task.template_revision) == ((), "greet", greet.revision)
    assert (task.spec.parameters, task.spec.resources.open_files) == ({"name": "ada", "code": "4"}, 64)
    assert "hunter2" not in repr(task)


def test_a_template_that_is_another_one_by_now_is_told(site: farspawn.Client) -> None:
    with pytest.raises(TemplateChangedError) as changed:
        site.launch(template="greet", parameters={"name": "ada"}, template_revision="0" * 64)

    known = {template.name: template.revision for template in site.site().templates}
    assert (changed.value.template, changed.value.revision) == ("greet", known["greet"])


def test_what_the_owner_does_not_allow_is_refused_with_its_rule(site: farspawn.Client) -> None:
    with pytest.raises(PolicyDeniedError, match="only its owner's templates") as denied:
        site.launch(["true"])
    with pytest.raises(PolicyDeniedError, match="address_space"):
        site.launch(template="nap", resources=Resources(address_space_bytes=ADDRESS_SPACE_BYTES + 1))
    with pytest.raises(SpecInvalidError) as invalid:
        site.launch(template="greet", parameters={"name": "--evil"})
    with pytest.raises(SpecInvalidError):
        site.launch()

    assert denied.value.metadata["rule"] == "policy.allow"
    assert [violation.field for violation in invalid.value.violations] == ["spec.parameters['name']"]


def test_a_repeated_launch_with_other_secrets_is_the_same(site: farspawn.Client) -> None:
    first = site.launch(template="greet", parameters={"name": "ada"}, secrets={"TOKEN": "a"}, task_id=new_id())

    again = site.launch(template="greet", parameters={"name": "ada"}, secrets={"TOKEN": "b"}, task_id=first.task_id)

    assert (again.created, output(again).splitlines()[0]) == (False, b"ada 0 none a")
    with pytest.raises(TaskIdReusedError):
        site.launch(template="greet", parameters={"name": "bob"}, task_id=first.task_id)


def test_a_templates_check_tells_that_it_is_ready(site: farspawn.Client) -> None:
    serving = site.launch(template="serve")
    serving.wait_ready()

    assert serving.ready
    with pytest.raises(NotReadyError):
        site.launch(template="greet", parameters={"name": "ada"}).wait_ready()


def test_a_lease_that_the_site_wants_is_kept_by_whoever_launched_and_waits(site: farspawn.Client) -> None:
    napping = site.launch(template="nap")

    assert napping.wait() == 0
    assert site.site().limits.max_lease_ttl == timedelta(seconds=TTL_SECONDS)
