"""The one door: launch, stop, poll, watch, list, read logs, signal, delete, recover."""

from farspawn_server.supervisor.supervisor import InputPart, Supervisor

__all__ = ["InputPart", "Supervisor"]
