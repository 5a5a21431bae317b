"""What is on record, against what ran: the chain is whole, and nothing started that nobody asked for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from support.audit import audit_lines

from chaos.evidence import Evidence
from chaos.findings import Finding
from farspawn_server.audit.verify import BrokenChainError, verify


def judge(folder: Path, told: Evidence) -> Iterator[Finding]:
    """Yield what is wrong with the audit in a folder."""
    try:
        verify(folder)
    except BrokenChainError as error:
        yield Finding("the audit is a whole chain", str(error))
    accepted = {
        line["uid"] for line in audit_lines(folder) if line["rpc"] == "LaunchTask" and line["outcome"] == "accepted"
    }
    for (uid, attempt), lines in told.lines["start"].items():
        if uid.rpartition("/")[2] not in accepted:
            yield Finding("what runs is on record", f"{uid}, attempt {attempt}, is not", [str(line) for line in lines])
