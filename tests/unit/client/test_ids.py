"""Task ids of our own making."""

from __future__ import annotations

import re
import time
import uuid

from farspawn._arguments import new_task_id


def test_an_id_is_a_uuid_of_version_7_and_tells_its_time() -> None:
    before = time.time_ns() // 1_000_000

    made = uuid.UUID(new_task_id())

    assert (made.version, made.variant) == (7, uuid.RFC_4122)
    assert before <= made.int >> 80 <= time.time_ns() // 1_000_000


def test_an_id_is_one_that_the_contract_allows() -> None:
    assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}", new_task_id())


def test_no_two_ids_are_the_same() -> None:
    assert len({new_task_id() for _ in range(10_000)}) == 10_000
