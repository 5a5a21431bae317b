"""Text from a task or a site, made harmless for a terminal.

Control characters can move the cursor, retitle the window or answer for the
user; direction marks can make text read as what it is not. Both are shown, not
obeyed.
"""

import codecs
import re

# C0 and C1 controls and DEL; the marks that reorder text (Unicode TR 9, "Trojan Source").
_CONTROLS = r"\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\u2028\u2029\ud800-\udfff"
_HARMFUL = re.compile(f"[{_CONTROLS}]")
_HARMFUL_IN_OUTPUT = re.compile(f"(?![\\n\\t\\r])[{_CONTROLS}]")


def harmless(text: str) -> str:
    """One line of text: newlines are shown, too."""
    return _HARMFUL.sub(_shown, text)


def harmless_lines(text: str) -> str:
    """Text of several lines; newline, tab and carriage return stay."""
    return _HARMFUL_IN_OUTPUT.sub(_shown, text)


class OutputCleaner:
    """A task's output, made harmless piece by piece; newline, tab and carriage return stay."""

    def __init__(self) -> None:
        # A character may be cut in two by a chunk's end.
        self._decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")

    def clean(self, data: bytes) -> str:
        """The next piece."""
        return harmless_lines(self._decoder.decode(data))

    def rest(self) -> str:
        """What is left when nothing more comes."""
        return self._decoder.decode(b"", final=True)


def _shown(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode("ascii")
