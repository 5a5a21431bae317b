"""Who may do what, and what this site allows. Decided by the site's owner, never by a caller."""

from farspawn_server.policy.callers import LOCAL, NEEDS, Caller, Grant, Role, Roster, authorise, authorise_renewal
from farspawn_server.policy.ceilings import Ceilings
from farspawn_server.policy.limits import Limits
from farspawn_server.policy.policy import Admission, Policy
from farspawn_server.policy.templates import Parameter, Template

__all__ = [
    "LOCAL",
    "NEEDS",
    "Admission",
    "Caller",
    "Ceilings",
    "Grant",
    "Limits",
    "Parameter",
    "Policy",
    "Role",
    "Roster",
    "Template",
    "authorise",
    "authorise_renewal",
]
