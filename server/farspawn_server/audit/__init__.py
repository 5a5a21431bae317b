"""What was asked of the site and what it answered: lines that are only ever appended, each bound to the one before."""

from farspawn_server.audit.record import ACCEPTED, EXISTING, Record, argv_digest
from farspawn_server.audit.trail import Trail

__all__ = ["ACCEPTED", "EXISTING", "Record", "Trail", "argv_digest"]
