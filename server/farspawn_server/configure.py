"""From settings to what the rooms know: who is let in, what may run, and how much."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from datetime import timedelta

import msgspec

from farspawn_core import oom_score
from farspawn_server.policy import Admission, Ceilings, Grant, Limits, Parameter, Policy, Role, Roster, Template
from farspawn_server.policy.enforceable import unenforceable
from farspawn_server.settings import (
    CeilingSettings,
    CleanupSettings,
    ParameterSettings,
    PolicySettings,
    ProgramSettings,
    ReadinessSettings,
    Settings,
    StopSettings,
    TemplateSettings,
)
from farspawn_server.task.spec import DEFAULT_OOM_SCORE_ADJ, Cleanup, Readiness, Resources, StopPlan, StopScope


def roster(settings: Settings) -> Roster | None:
    """Return whom the settings let in; None: no certificates, everybody is the owner."""
    if settings.tls is None:
        return None
    grants = [Grant(grant.identity, Role[grant.role.upper()], _others(grant.sees)) for grant in settings.grants]
    return Roster(grants, frozenset(settings.denied))


def _others(sees: str | tuple[str, ...]) -> tuple[str, ...] | None:
    if isinstance(sees, str):
        return {"": None, "own": (), "all": ("*",)}[sees]
    return sees


def limits(settings: Settings) -> Limits:
    """Return how much the site takes on."""
    given = msgspec.structs.asdict(settings.limits)
    del given["max_connections"]  # the transport's
    return Limits(**given)


def policy(settings: Settings, controllers: Collection[str]) -> Policy:
    """Return what the site lets run. `controllers`: what the cgroups of tasks can limit."""
    given = settings.policy
    return Policy(
        admission=Admission(given.allow or Admission.TEMPLATES),
        owners_admission=Admission(given.allow or Admission.ANY),
        programs={each.path: each.sha256 for each in map(_program, given.programs)},
        directories=given.directories,
        environment=given.environment,
        user=given.user,
        oom_score_adj=_oom_score_adj(given),
        ceilings=_ceilings(settings.ceilings),
        templates={name: _template(name, each) for name, each in settings.templates.items()},
        unenforceable=unenforceable(controllers, given.user),
    )


def _oom_score_adj(given: PolicySettings) -> int:
    if given.oom_score_adj is not None:
        return given.oom_score_adj
    # A pod's may be higher, and lowering it is a privilege.
    return max(DEFAULT_OOM_SCORE_ADJ, oom_score.own())


def _program(given: str | ProgramSettings) -> ProgramSettings:
    return given if isinstance(given, ProgramSettings) else ProgramSettings(given)


def _template(name: str, given: TemplateSettings) -> Template:
    ceilings = _ceilings(given.limits)
    return Template(
        name=name,
        revision=hashlib.sha256(msgspec.json.encode(given, order="sorted")).hexdigest(),
        argv=given.argv,
        description=given.description,
        env=given.env,
        working_directory=given.working_directory,
        environment=given.environment,
        open_input=given.open_input,
        merge_output=None if isinstance(given.merge_output, msgspec.UnsetType) else given.merge_output,
        parameters={name: _parameter(each) for name, each in given.parameters.items()},
        sha256=given.sha256,
        stop=_stop_plan(given.stop),
        ceilings=ceilings,
        cleanup=None if given.cleanup is None else _cleanup(given.cleanup),
        readiness=None if given.readiness is None else _readiness(given.readiness),
    )


def _parameter(given: ParameterSettings) -> Parameter:
    integers = None
    if given.minimum is not None and given.maximum is not None:
        integers = (given.minimum, given.maximum)
    return Parameter(given.pattern, given.choices, integers, given.default)


def _ceilings(given: CeilingSettings) -> Ceilings:
    return Ceilings(
        max_runtime=_span(given.max_runtime_seconds or None),
        lease_ttl=_span(given.lease_ttl_seconds or None),
        max_stop=_max_stop(given),
        resources=Resources(
            address_space_bytes=given.address_space_bytes,
            cpu_seconds=given.cpu_seconds,
            open_files=given.open_files,
            processes=given.processes,
            memory_bytes=given.memory_bytes,
            niceness=given.niceness,
            log_bytes=given.log_bytes,
        ),
    )


def _max_stop(given: CeilingSettings) -> timedelta | None:
    if given.max_stop_seconds:
        return timedelta(seconds=given.max_stop_seconds)
    return _DEFAULT_MAX_STOP if given.max_runtime_seconds or given.lease_ttl_seconds else None


_DEFAULT_MAX_STOP = timedelta(minutes=10)


def _stop_plan(given: StopSettings) -> StopPlan:
    return StopPlan(
        linger=_span(given.linger_seconds),
        drain=_span(given.drain_seconds),
        signal=given.signal,
        grace=_span(given.grace_seconds),
        scope=None if isinstance(given.scope, msgspec.UnsetType) else StopScope(given.scope),
    )


def _cleanup(given: CleanupSettings) -> Cleanup:
    return Cleanup(given.argv, timedelta(seconds=given.timeout_seconds))


def _readiness(given: ReadinessSettings) -> Readiness:
    return Readiness(given.log_line, given.tcp_port, given.file)


def _span(seconds: float | None) -> timedelta | None:
    return None if seconds is None else timedelta(seconds=seconds)
