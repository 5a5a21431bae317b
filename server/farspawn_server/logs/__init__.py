"""Read a task's output by offset while it grows."""

from farspawn_server.logs.files import LogFiles, Output
from farspawn_server.logs.moments import Moments
from farspawn_server.logs.reading import CHUNK_BYTES, DEFAULT_LOG_BYTES, Chunk, Reading, read_on

__all__ = ["CHUNK_BYTES", "DEFAULT_LOG_BYTES", "Chunk", "LogFiles", "Moments", "Output", "Reading", "read_on"]
