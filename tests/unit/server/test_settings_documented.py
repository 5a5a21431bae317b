"""deploy/site.toml says of every setting what it is."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest

from farspawn_server import settings as site_settings
from farspawn_server.settings import Settings

TEXT = (Path(__file__).parents[3] / "deploy" / "site.toml").read_text()
TABLES = [each for each in vars(site_settings).values() if isinstance(each, type) and issubclass(each, msgspec.Struct)]


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.__name__)
def test_every_key_is_explained(table: type[msgspec.Struct]) -> None:
    missing = [key for key in table.__struct_fields__ if not re.search(rf"\b{key}\b", TEXT)]

    assert missing == []


def test_what_is_not_commented_out_is_the_default() -> None:
    given = msgspec.convert(msgspec.toml.decode(TEXT), Settings)

    for table in ("policy", "ceilings", "limits", "drain", "audit"):
        assert getattr(given, table) == getattr(Settings(), table)


def test_the_example_of_a_template_is_one() -> None:
    lines = TEXT[TEXT.index("# [templates.train]") : TEXT.index("# How the agent ends")].splitlines()

    given = msgspec.convert(msgspec.toml.decode("\n".join(line.removeprefix("#") for line in lines)), Settings)

    assert set(given.templates) == {"train"}
