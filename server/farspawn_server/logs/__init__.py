"""Read a task's output by offset while it grows."""

from farspawn_server.logs.files import LogFiles, Output
from farspawn_server.logs.reading import CHUNK_BYTES, Chunk, read_chunk, start_of_tail
from farspawn_server.logs.trimming import DEFAULT_LOG_BYTES, trim

__all__ = ["CHUNK_BYTES", "DEFAULT_LOG_BYTES", "Chunk", "LogFiles", "Output", "read_chunk", "start_of_tail", "trim"]
