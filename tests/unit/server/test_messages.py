"""What keeper and server say to each other arrives as it was said, however it is cut, and from other versions too."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farspawn_server.keeper import messages
from farspawn_server.keeper.messages import (
    Confinement,
    Decoder,
    Drain,
    Ended,
    Failure,
    Hello,
    Holding,
    Kill,
    Message,
    Outputs,
    Spawn,
    User,
    encode,
)

# Names that are no UTF-8 come from the file system as lone surrogates.
texts = st.text(st.characters() | st.characters(min_codepoint=0xDC80, max_codepoint=0xDCFF), max_size=20)
numbers = st.integers(0, 2**63)
failures = st.builds(Failure, numbers, texts, texts)
endings = st.builds(Ended, at=numbers, code=st.none() | st.integers(0, 255), signal=st.none() | st.integers(1, 64))
holdings = st.builds(
    Holding,
    uid=texts,
    pid=numbers,
    started_at=numbers,
    started_monotonic=numbers,
    failure=st.none() | failures,
    ended=st.none() | endings,
    alive=st.booleans(),
    lost=st.booleans(),
    shut_down=st.booleans(),
    outputs=st.none() | st.builds(Outputs, st.lists(numbers, min_size=2, max_size=2), error_number=numbers),
)
KINDS: dict[str, Any] = dict(messages._KINDS)


def any_message() -> st.SearchStrategy[Message]:
    plain = [kind for name, kind in KINDS.items() if name not in ("Hello", "Holding", "Answer", "Spawn")]
    members = st.lists(st.lists(texts, min_size=3, max_size=3), max_size=3)
    answers = st.builds(KINDS["Answer"], numbers, numbers, members)
    hellos = st.builds(Hello, keeper=texts, boot=texts, started_at=numbers, holdings=st.lists(holdings, max_size=3))
    spawns = st.builds(
        Spawn,
        uid=texts,
        argv=st.lists(texts, max_size=3),
        env=st.dictionaries(texts, texts, max_size=3),
        cwd=texts,
        prefix=texts,
        merge_output=st.booleans(),
        log_bytes=numbers,
        mask=numbers,
        confinement=st.builds(
            Confinement,
            directories=st.lists(texts, max_size=2),
            user=st.none() | st.builds(User, texts, numbers, numbers, st.lists(numbers, max_size=2)),
        ),
    )
    return st.one_of(holdings, answers, hellos, spawns, *(st.builds(kind) for kind in plain))


@given(st.lists(any_message(), max_size=5), st.data())
def test_messages_arrive_as_they_were_sent_wherever_they_are_cut(sent: list[Message], data: st.DataObject) -> None:
    whole = b"".join(encode(message) for message in sent)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=8)))
    decoder = Decoder()

    received: list[Message] = []
    for begin, end in zip([0, *cuts], [*cuts, len(whole)], strict=True):
        received += decoder.feed(whole[begin:end])

    assert received == sent


def test_messages_arrive_byte_by_byte() -> None:
    sent: list[Message] = [Kill("a"), Drain(), Kill("ä\udcff")]
    decoder = Decoder()

    received = [each for byte in b"".join(map(encode, sent)) for each in decoder.feed(bytes([byte]))]

    assert received == sent


def frame(**fields: Any) -> bytes:
    text = json.dumps(fields).encode()
    return len(text).to_bytes(4, "big") + text


def test_a_field_of_a_newer_version_is_ignored_also_inside_of_another() -> None:
    ended = {"at": 5, "code": 0, "news": 1}
    data = frame(kind="Holding", uid="a", news=[1, 2], ended=ended)

    assert list(Decoder().feed(data)) == [Holding("a", ended=Ended(at=5, code=0))]


def test_a_field_that_an_older_version_does_not_have_takes_its_default() -> None:
    data = frame(kind="Hello", keeper="k", boot="b", started_at=1)

    assert list(Decoder().feed(data)) == [Hello("k", "b", 1)]


def test_a_kind_of_a_newer_version_is_skipped_and_what_follows_is_heard() -> None:
    data = frame(kind="Teleport", uid="a") + frame(uid="no kind at all") + encode(Kill("b"))

    assert list(Decoder().feed(data)) == [Kill("b")]


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_every_message_is_frozen(kind: type[Any]) -> None:
    assert dataclasses.is_dataclass(kind)
    assert kind.__dataclass_params__.frozen  # type: ignore[attr-defined]
