"""docs/failpoints.md tells of every place, and of no other."""

from __future__ import annotations

import re
from pathlib import Path

from farspawn_core.failpoint import NAMES

_TABLE = Path(__file__).parents[3] / "docs" / "failpoints.md"


def test_the_table_lists_exactly_the_failpoints() -> None:
    listed = re.findall(r"^\| `([a-z._]+)` \|", _TABLE.read_text(encoding="utf-8"), re.MULTILINE)

    assert tuple(listed) == NAMES
