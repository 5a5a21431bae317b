"""What a site tells of itself, from the messages of the contract to the values of this library."""

from farspawn import _values as values
from farspawn._wire import moment_from_wire
from farspawn._wire_spec import resources_from_wire
from farspawn.v1 import site_pb2


def site_from_wire(site: site_pb2.Site) -> values.Site:
    """What a site is."""
    return values.Site(
        name=site.name,
        version=site.version,
        state=values.SiteState(site.state),
        boot_id=site.boot_id,
        server_started=moment_from_wire(site.server_started if site.HasField("server_started") else None),
        keeper_started=moment_from_wire(site.keeper_started if site.HasField("keeper_started") else None),
        containment=tuple(values.ContainmentTier(tier) for tier in site.containment),
        limits=_limits(site.limits),
        load=values.Load(live_tasks=site.load.live_tasks, ended_tasks=site.load.ended_tasks),
        revision=site.revision,
        admission=values.Admission(site.admission),
        templates=tuple(_template(template) for template in site.templates),
        enforceable_limits=tuple(values.LimitKind(kind) for kind in site.enforceable_limits),
    )


def _limits(limits: site_pb2.Site.Limits) -> values.Limits:
    return values.Limits(
        max_live_tasks=limits.max_live_tasks,
        max_command_bytes=limits.max_command_bytes,
        max_poll_tasks=limits.max_poll_tasks,
        max_ended_tasks=limits.max_ended_tasks,
        max_live_tasks_per_owner=limits.max_live_tasks_per_owner,
        max_launches_per_second=limits.max_launches_per_second,
        max_runtime=limits.max_runtime.ToTimedelta() if limits.HasField("max_runtime") else None,
        max_lease_ttl=limits.max_lease_ttl.ToTimedelta() if limits.HasField("max_lease_ttl") else None,
        resources=resources_from_wire(limits.resources),
    )


def _template(template: site_pb2.Template) -> values.Template:
    return values.Template(
        name=template.name,
        revision=template.revision,
        description=template.description,
        parameters=tuple(_parameter(parameter) for parameter in template.parameters),
    )


def _parameter(parameter: site_pb2.Template.Parameter) -> values.Parameter:
    integers = parameter.integers
    return values.Parameter(
        name=parameter.name,
        pattern=parameter.pattern,
        choices=tuple(parameter.choices),
        integers=values.IntegerRange(integers.minimum, integers.maximum) if parameter.HasField("integers") else None,
        default_value=parameter.default_value if parameter.HasField("default_value") else None,
    )
