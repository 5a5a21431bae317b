"""A place in a task's output; nothing is read here."""

from farspawn import _values as values
from farspawn.v1 import launcher_pb2 as pb


class LogCursor:
    """Where a reader of a task's output is. Not for two threads at once.

    Attributes:
        attempt: Which attempt's output it is; 0 until the site has said.
        earliest_offset: The offset of the first byte the site still had; None until it has said.
        start_offset: The offset of the first byte of this reading; None until the site has said.
        offset: The offset after the last byte read; None until the site has said where it begins.
        ended: Whether all that was asked for has been read.
        complete: Whether that is all the task will ever have written.
    """

    def __init__(self, request: pb.ReadLogsRequest) -> None:
        self._request = request
        self.attempt = request.attempt
        self.earliest_offset: int | None = None
        self.start_offset: int | None = None
        self.offset: int | None = None
        self.ended = False
        self.complete = False

    def request(self) -> pb.ReadLogsRequest:
        """Asks for what has not been read yet."""
        if self.offset is None:
            return self._request
        return pb.ReadLogsRequest(
            task_id=self._request.task_id,
            stream=self._request.stream,
            offset=self.offset,
            follow=self._request.follow,
            attempt=self.attempt,  # by now the newest may be another one
        )

    def take(self, part: pb.ReadLogsResponse) -> values.LogChunk | None:
        """Moves on by one part of a stream; returns the bytes in it, if any."""
        match part.WhichOneof("part"):
            case "header":
                self.attempt = part.header.attempt
                self.earliest_offset = part.header.earliest_offset
                if self.offset is None:
                    self.start_offset = self.offset = part.header.start_offset
            case "chunk" if part.chunk.data:
                chunk = values.LogChunk(part.chunk.offset, part.chunk.data)
                self.offset = chunk.end
                return chunk
            case "checkpoint":
                self.offset = part.checkpoint.offset
            case "end":
                self.offset = part.end.offset
                self.complete = part.end.complete
                self.ended = True
            case _:
                pass  # a newer site tells something unknown to this client
        return None

    def skip_to(self, earliest: int) -> bool:
        """Leaves out what is gone; false if this is not about bytes that were still to be read."""
        if self.offset is None or earliest <= self.offset:
            return False
        self.offset = earliest
        return True
