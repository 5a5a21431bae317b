"""Where a TOML document does not fit the schema: every place at once, where msgspec names the first."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from typing import TypeGuard, get_args, get_origin, get_type_hints

import msgspec

Misfit = tuple[list[str], str]


def misfits(given: object, kind: object, keys: list[str]) -> Iterator[Misfit]:
    """Yield the keys of each mistake, and what it is.

    Args:
        given: what TOML says.
        kind: what type it is to be.
        keys: where it stands.
    """
    origin, arguments = get_origin(kind), get_args(kind)
    struct = next((each for each in (kind, *arguments) if origin is not tuple and _is_struct(each)), None)
    if origin is dict and isinstance(given, dict):
        for name, value in given.items():
            yield from misfits(value, arguments[1], [*keys, name])
    elif origin is tuple and isinstance(given, list):
        for place, value in enumerate(given):
            yield from misfits(value, arguments[0], [*keys[:-1], f"{keys[-1]}[{place}]"])
    elif struct is not None and isinstance(given, dict):
        yield from _of_struct(given, struct, keys)
    else:
        try:
            msgspec.convert(given, kind)
        except msgspec.ValidationError as error:
            yield keys, str(error)


def _of_struct(given: dict[str, object], struct: type[msgspec.Struct], keys: list[str]) -> Iterator[Misfit]:
    kinds = get_type_hints(struct)
    for name, value in given.items():
        if name in kinds:
            yield from misfits(value, kinds[name], [*keys, name])
        else:
            near = difflib.get_close_matches(name, kinds, n=1) or [", ".join(kinds)]
            yield [*keys, name], f"unknown field `{name}`: there is {near[0]}"
    for field in msgspec.structs.fields(struct):
        if field.required and field.name not in given:
            yield [*keys, field.name], "is missing"


def _is_struct(kind: object) -> TypeGuard[type[msgspec.Struct]]:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)
