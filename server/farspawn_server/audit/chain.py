r"""The chain: each line holds the hash of the line before it, and its own.

A line is one JSON object in ASCII. It begins with `seq`, which counts from 1, and ends with two hashes:

    {"seq":7,"time":...,"prev":"<hash of line 6>","hash":"<of this line>"}

`hash` is the SHA-256, in hexadecimal, of the line's bytes before `,"hash":`. So nobody needs this program to check it:

    line=$(sed -n 7p audit-000001.jsonl)
    printf %s "${line%,\"hash\":*}" | sha256sum    # jq -r .hash says the same; and .prev, .hash of the line before

The first line of all has 64 zeros for `prev`. Whoever can write the files can also make a new chain from any line on,
or cut off its end: that is seen by whoever noted a later hash elsewhere.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from farspawn_server.audit.record import Record

GENESIS = "0" * 64
"""What the first line of all follows."""

_LINE = re.compile(rb'(\{"seq":.*),"hash":"([0-9a-f]{64})"\}', re.ASCII)
# ASCII, so that no line break, escape sequence or bidirectional mark of a caller gets out raw.
_encode = json.JSONEncoder(separators=(",", ":")).encode


class NotALineError(ValueError):
    """These bytes are no line of an audit; the text says what is wrong with them."""


@dataclass(frozen=True, slots=True)
class Link:
    """A line that is what it was when it was written, if its hash is: its place in the chain, and all its fields."""

    seq: int
    prev: str
    hash: str
    fields: Mapping[str, object]


def forge(record: Record, seq: int, prev: str, notes: Mapping[str, int | str]) -> tuple[bytes, str]:
    """Return the line of a record, and its hash. `notes`: what else is to be said here, about the chain itself."""
    fields: dict[str, object] = {"seq": seq, **dict(record.fields()), **notes, "prev": prev}
    # DEL is ASCII, and no printable character: the one that JSON lets through.
    body = _encode(fields)[:-1].replace("\x7f", "\\u007f").encode("ascii")
    own = hashlib.sha256(body).hexdigest()
    return b'%b,"hash":"%b"}\n' % (body, own.encode()), own


def read(line: bytes) -> Link:
    """Return what a line says. It comes without its line break.

    Raises:
        NotALineError: it is none, or not what it was.
    """
    found = _LINE.fullmatch(line)
    if found is None:
        raise NotALineError("this is no line of an audit")
    body, own = found[1], found[2].decode()
    if hashlib.sha256(body).hexdigest() != own:
        raise NotALineError("it was changed: its hash does not fit")
    try:
        fields = json.loads(body + b"}")
        seq, prev = fields["seq"], fields["prev"]
    except (ValueError, KeyError) as error:
        raise NotALineError(f"this is no line of an audit: {error}") from error
    if type(seq) is not int or type(prev) is not str:
        raise NotALineError("this is no line of an audit: seq is not a number, or prev not a text")
    return Link(seq, prev, own, fields)
