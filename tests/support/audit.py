"""What is on record: the lines of a site's audit, read with nothing of the agent's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def audit_files(folder: Path) -> list[Path]:
    """Return the files, oldest first."""
    return sorted(folder.glob("audit-*.jsonl"))


def audit_lines(folder: Path) -> list[dict[str, Any]]:
    """Return all lines that are finished."""
    text = b"".join(path.read_bytes() for path in audit_files(folder))
    return [json.loads(line) for line in text.split(b"\n")[:-1]]
