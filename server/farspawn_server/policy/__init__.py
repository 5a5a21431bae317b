"""Who may do what, and what this site allows. Decided by the site's owner, never by a caller."""

from farspawn_server.policy.callers import LOCAL, NEEDS, Caller, Grant, Role, Roster, authorise
from farspawn_server.policy.limits import Limits

__all__ = ["LOCAL", "NEEDS", "Caller", "Grant", "Limits", "Role", "Roster", "authorise"]
