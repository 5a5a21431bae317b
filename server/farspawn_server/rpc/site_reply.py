"""From all that the supervisor knows of its site to the message that tells callers what they can count on."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import version

from farspawn.v1 import site_pb2
from farspawn_server.keeper.messages import Hello
from farspawn_server.policy import Admission, Caller, Parameter, Policy, Template
from farspawn_server.rpc.replies import moment
from farspawn_server.rpc.spec_replies import resources, span
from farspawn_server.supervisor import Supervisor
from farspawn_server.task.rules import MAX_COMMAND_BYTES

_STATE: dict[str, site_pb2.SiteState.ValueType] = {
    "serving": site_pb2.SITE_STATE_SERVING,
    "recovering": site_pb2.SITE_STATE_RECOVERING,
    "draining": site_pb2.SITE_STATE_DRAINING,
}
_TIER: dict[str, site_pb2.ContainmentTier.ValueType] = {
    "subreaper": site_pb2.CONTAINMENT_TIER_SUBREAPER,
    "cgroup": site_pb2.CONTAINMENT_TIER_CGROUP,
}
_LIMIT: dict[str, site_pb2.LimitKind.ValueType] = {
    "address_space_bytes": site_pb2.LIMIT_KIND_ADDRESS_SPACE_BYTES,
    "cpu_seconds": site_pb2.LIMIT_KIND_CPU_TIME,
    "open_files": site_pb2.LIMIT_KIND_OPEN_FILES,
    "processes": site_pb2.LIMIT_KIND_PROCESSES,
    "memory_bytes": site_pb2.LIMIT_KIND_MEMORY_BYTES,
    "niceness": site_pb2.LIMIT_KIND_NICENESS,
    "log_bytes": site_pb2.LIMIT_KIND_LOG_BYTES,
}
_ADMISSION: dict[Admission, site_pb2.Admission.ValueType] = {
    Admission.TEMPLATES: site_pb2.ADMISSION_TEMPLATES,
    Admission.PROGRAMS: site_pb2.ADMISSION_PROGRAMS,
    Admission.ANY: site_pb2.ADMISSION_ANY,
}


def site_reply(supervisor: Supervisor, caller: Caller, *, name: str, started_at: int) -> site_pb2.Site:
    """Describe a site to a caller; `started_at` is when its server was, in nanoseconds since 1970."""
    live, ended, revision = supervisor.load()
    hello, policy = supervisor.hello, supervisor.policy
    return site_pb2.Site(
        name=name,
        version=version("farspawn"),
        state=_STATE[supervisor.state],
        boot_id="" if hello is None else hello.boot,
        server_started=moment(started_at),
        keeper_started=moment(None if hello is None else hello.started_at),
        containment=[_TIER[tier] for tier in ([] if hello is None else hello.tiers) if tier in _TIER],
        limits=_limits(supervisor),
        load=site_pb2.Site.Load(live_tasks=live, ended_tasks=ended),
        revision=revision,
        admission=_ADMISSION[policy.admission_of(caller)],
        templates=[_template(each) for _, each in sorted(policy.templates.items())],
        enforceable_limits=[] if hello is None else _enforceable(policy, hello),
    )


def _enforceable(policy: Policy, hello: Hello) -> Iterator[site_pb2.LimitKind.ValueType]:
    for name, kind in _LIMIT.items():
        if name not in policy.unenforceable:
            is_of_user = name == "processes" and "pids" not in hello.controllers
            yield site_pb2.LIMIT_KIND_USER_PROCESSES if is_of_user else kind


def _limits(supervisor: Supervisor) -> site_pb2.Site.Limits:
    limits, ceilings = supervisor.limits, supervisor.policy.ceilings
    return site_pb2.Site.Limits(
        max_live_tasks=limits.max_live_tasks,
        max_live_tasks_per_owner=limits.max_live_tasks_per_owner,
        max_launches_per_second=limits.max_launches_per_second,
        max_command_bytes=MAX_COMMAND_BYTES,
        max_poll_tasks=limits.max_poll_tasks,
        max_ended_tasks=limits.max_ended_tasks,
        max_runtime=span(ceilings.max_runtime),
        max_lease_ttl=span(ceilings.lease_ttl),
        resources=resources(ceilings.resources),
    )


def _template(value: Template) -> site_pb2.Template:
    parameters = [_parameter(name, each) for name, each in sorted(value.parameters.items())]
    return site_pb2.Template(
        name=value.name, revision=value.revision, description=value.description, parameters=parameters
    )


def _parameter(name: str, value: Parameter) -> site_pb2.Template.Parameter:
    message = site_pb2.Template.Parameter(name=name, pattern=value.pattern, choices=value.choices)
    if value.integers is not None:
        message.integers.minimum, message.integers.maximum = value.integers
    if value.default is not None:
        message.default_value = value.default
    return message
