"""Every file that our documents point to is there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted(
    path
    for path in ROOT.rglob("*.md")
    if not any(part.startswith(".") or part in ("build", "dist") for part in path.relative_to(ROOT).parts)
)
_LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")


def test_no_link_leads_nowhere() -> None:
    broken = [
        f"{path.relative_to(ROOT)}: {target}"
        for path in DOCUMENTS
        for target in _LINK.findall(path.read_text(encoding="utf-8"))
        if "://" not in target and not list(path.parent.glob(target)) and not (path.parent / target).exists()
    ]

    assert DOCUMENTS
    assert broken == []
