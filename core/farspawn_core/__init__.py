"""Start one process in a session of its own, follow it, and end everything it started. No fork, ever.

Usable by itself in any threaded program on Linux with glibc 2.34 or later, a live gRPC server included; the
standard library is all it needs. `spawn_process` and `ProcessAdapter` keep the names and conventions of NVIDIA
FLARE's `process_utils`, so that they can take their place.
"""

from farspawn_core.adapter import ProcessAdapter, spawn_process
from farspawn_core.errors import ExitUnknownError, Phase, SpawnError
from farspawn_core.exits import Exit, Usage
from farspawn_core.program import find_program
from farspawn_core.spawn import spawn

__all__ = [
    "Exit",
    "ExitUnknownError",
    "Phase",
    "ProcessAdapter",
    "SpawnError",
    "Usage",
    "find_program",
    "spawn",
    "spawn_process",
]
