"""Random messages of any type of the contract, made from its descriptor, and bytes that are nearly messages.

A seed says everything: the same one makes the same messages.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any, cast

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

_INTEGERS: Sequence[int] = (
    0,
    1,
    -1,
    2,
    7,
    9,
    15,
    64,
    65,
    100,
    255,
    4096,
    65536,
    2**31 - 1,
    -(2**31),
    2**32,
    2**53,
    2**63 - 1,
    -(2**63),
)
_TEXTS = (
    "",
    "/",
    "a",
    "true",
    "/bin/true",
    "/bin/cat",
    "train",
    "round",
    "site",
    "TOKEN",
    "LD_PRELOAD",
    "FARSPAWN_X",
    "A=B",
    "..",
    "../../etc/passwd",
    "/proc/self",
    "nul\0nul",
    "new\nline",
    "\x1b[2J\x1b]0;x\x07",
    "\u202e\ud7ff\U0010ffff",
    "%s%n",
    "{round}",
    "*",
    "-rf",
    "local",
    "x" * 129,
    "y" * 5000,
)
_DEPTH = 4


class Fuzz:
    """A source of messages; `ids` are words to be likely among the texts, for instance of tasks that exist."""

    def __init__(self, seed: int, ids: list[str] | None = None) -> None:
        self._dice = random.Random(seed)
        self.ids = ids if ids is not None else []
        self._fullness = self._dice.choice((0.05, 0.1, 0.2, 0.4, 0.9))

    def message(self, descriptor: Descriptor, depth: int = 0) -> Message:
        """Return a message of a type."""
        made = GetMessageClass(descriptor)()
        for field in descriptor.fields:
            if self._dice.random() < self._fullness and depth < _DEPTH:
                self._fill(made, field, depth)
        return made

    def near(self, right: Message) -> Message:
        """Return a message that differs from a right one in a few fields, or in none."""
        made = type(right)()
        made.CopyFrom(right)
        for _ in range(self._dice.randrange(4) if made.DESCRIPTOR.fields else 0):
            self._disturb(made, 0)
        return made

    def wire(self, descriptor: Descriptor, right: Message | None = None) -> bytes:
        """Return the bytes of a message, mostly right ones; half of the time near a right message."""
        is_near = right is not None and self._dice.random() < 0.5
        message = self.near(right) if right is not None and is_near else self.message(descriptor)
        found = bytearray(message.SerializeToString())
        if self._dice.random() < 0.7:
            return bytes(found)
        for _ in range(self._dice.randint(1, 4)):
            place = self._dice.randint(0, len(found))
            match self._dice.randrange(4):
                case 0:
                    found[place : place + 1] = bytes([self._dice.randrange(256)])
                case 1:
                    del found[place:]
                case 2:
                    found[place:place] = self._dice.randbytes(self._dice.randint(1, 9))
                case _:
                    found[place:place] = found[: self._dice.randint(0, len(found))]
        return bytes(found)

    def text(self) -> str:
        """Return a text."""
        dice = self._dice.random()
        if self.ids and dice < 0.3:
            return self._dice.choice(self.ids)
        if dice < 0.8:
            return self._dice.choice(_TEXTS)
        letters = (
            chr(self._dice.choice((self._dice.randrange(0xD800), 0x20 + self._dice.randrange(95)))) for _ in range(9)
        )
        return "".join(letters)

    def integer(self, bits: int, *, signed: bool) -> int:
        """Return an integer that fits."""
        least, most = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
        wanted: int = self._dice.choice(_INTEGERS) if self._dice.random() < 0.8 else self._dice.randint(least, most)
        return max(least, min(wanted, most))

    def _disturb(self, made: Message, depth: int) -> None:
        field = cast("FieldDescriptor", self._dice.choice(made.DESCRIPTOR.fields))
        if (
            field.message_type is not None
            and not field.is_repeated
            and made.HasField(field.name)
            and field.message_type.fields
        ):
            self._disturb(getattr(made, field.name), depth + 1)
        else:
            made.ClearField(field.name)
            self._fill(made, field, depth)

    def _fill(self, made: Message, field: FieldDescriptor, depth: int) -> None:
        kind = field.message_type
        if kind is not None and kind.GetOptions().map_entry:
            entries = getattr(made, field.name)
            for _ in range(self._size()):
                entries[self._value(kind.fields_by_name["key"], depth)] = self._value(
                    kind.fields_by_name["value"], depth
                )
        elif field.is_repeated:
            getattr(made, field.name).extend(self._value(field, depth) for _ in range(self._size()))
        elif kind is not None:
            getattr(made, field.name).CopyFrom(self._value(field, depth))
        else:
            setattr(made, field.name, self._value(field, depth))

    def _size(self) -> int:
        return self._dice.choice((0, 1, 1, 2, 3, 70))

    def _value(self, field: FieldDescriptor, depth: int) -> Any:
        match field.type:
            case FieldDescriptor.TYPE_MESSAGE:
                assert field.message_type is not None
                return self.message(field.message_type, depth + 1)
            case FieldDescriptor.TYPE_STRING:
                return self.text()
            case FieldDescriptor.TYPE_BYTES:
                return self._dice.randbytes(self._dice.choice((0, 1, 9, 70_000)))
            case FieldDescriptor.TYPE_BOOL:
                return self._dice.random() < 0.5
            case FieldDescriptor.TYPE_ENUM:
                assert field.enum_type is not None
                return self._dice.choice([each.number for each in field.enum_type.values] * 5 + [99, -1])
            case FieldDescriptor.TYPE_DOUBLE:
                return self._dice.choice((0.0, -1.0, float("inf"), float("nan"), 1e300))
            case FieldDescriptor.TYPE_INT32:
                return self.integer(32, signed=True)
            case FieldDescriptor.TYPE_INT64:
                return self.integer(64, signed=True)
            case FieldDescriptor.TYPE_UINT32:
                return self.integer(32, signed=False)
            case FieldDescriptor.TYPE_UINT64:
                return self.integer(64, signed=False)
            case other:
                raise AssertionError(f"the contract has fields of type {other} now: make values of them")
