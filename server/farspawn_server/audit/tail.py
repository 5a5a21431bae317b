"""The end of a file that a crash may have left unfinished."""

from __future__ import annotations

import os

# Of one line: a dozen texts of at most some thousand bytes each.
_LONGEST_LINE = 1 << 18


def last_line(descriptor: int) -> tuple[bytes, int]:
    """Return the last line that ends with a line break, without it, and the file's length up to there.

    Without one, the line is empty and the length 0; or, if what is there is longer than any line, the length is that
    of the file, so that nothing is cut off that we did not write.
    """
    size = os.fstat(descriptor).st_size
    start = max(0, size - 2 * _LONGEST_LINE)
    data = os.pread(descriptor, size - start, start)
    whole, end, _ = data.rpartition(b"\n")
    if not end:
        return b"", size if start else 0
    return whole.rpartition(b"\n")[2], start + len(whole) + 1
