"""The audit log's chain of hashes: what it proves and what it cannot."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.audit.chain import Broken, hash_of, link, read_head, verify, write_head
from controller.audit.model import EMPTY, AuditEntry, AuditKind, Deed, Head
from tests.builders import NOW
from tests.conformance.contracts.audit import a_deed


def a_chain(length: int) -> list[AuditEntry]:
    entries, head = list[AuditEntry](), EMPTY
    for number in range(length):
        entries.append(link(a_deed(number), head))
        head = entries[-1].head
    return entries


def test_a_chain_holds_and_ends_in_its_head() -> None:
    entries = a_chain(5)
    assert verify(entries) == entries[-1].head
    assert verify([]) == EMPTY


CHANGED = {
    "at": NOW + timedelta(days=9),
    "kind": AuditKind.REFUSED,
    "method": "TicketService/End",
    "account": "other",
    "operator": "wu",
    "token_id": "O-2",
    "peer": "ipv4:127.0.0.2:4",
    "subject": "T-9",
    "detail": "{}",
    "attempt": 7,
}


def test_every_field_of_a_deed_is_tried() -> None:
    assert set(CHANGED) == {field.name for field in fields(Deed)}


@pytest.mark.parametrize("name", CHANGED)
def test_no_field_can_be_changed_unseen(name: str) -> None:
    entries = a_chain(5)
    entries[2] = replace(entries[2], deed=replace(entries[2].deed, **{name: CHANGED[name]}))  # type: ignore[arg-type]
    assert verify(entries) == Broken(3, "was changed: its hash is another one")


def test_a_changed_entry_with_its_hash_made_anew_breaks_the_next() -> None:
    entries = a_chain(5)
    deed = replace(entries[2].deed, operator="nobody")
    entries[2] = replace(entries[2], deed=deed, hash=hash_of(3, deed, entries[2].previous))
    found = verify(entries)
    assert isinstance(found, Broken)
    assert found.number == 4


@pytest.mark.parametrize(
    ("change", "number"),
    [
        (lambda e: e[:2] + e[3:], 3),
        (lambda e: e[1:], 1),
        (lambda e: [*e[:2], e[3], e[2], e[4]], 3),
        (lambda e: [*e[:3], e[2], *e[3:]], 4),
    ],
    ids=["one removed", "the first removed", "two exchanged", "one twice"],
)
def test_no_entry_can_be_removed_moved_or_repeated_unseen(
    change: Callable[[list[AuditEntry]], list[AuditEntry]], number: int
) -> None:
    found = verify(change(a_chain(5)))
    assert isinstance(found, Broken)
    assert found.number == number


def test_what_was_cut_off_is_seen_with_a_kept_head_only() -> None:
    entries = a_chain(5)
    assert verify(entries[:3]) == entries[2].head  # no chain can know its own end
    found = verify(entries[:3], [entries[4].head])
    assert str(found) == "entry 4: the log ends at 3, and had 5 when a head was kept"


def test_a_log_that_was_written_anew_is_seen_with_a_kept_head_only() -> None:
    kept, other, head = a_chain(5)[3].head, list[AuditEntry](), EMPTY
    for number in range(5):
        other.append(link(a_deed(number, operator="forger"), head))
        head = other[-1].head
    assert verify(other) == head
    found = verify(other, [kept])
    assert isinstance(found, Broken)
    assert found.number == 4
    assert "written anew" in found.matter


@given(st.integers(1, 2**60), st.binary(min_size=32, max_size=32))
def test_a_head_is_read_as_it_was_written(number: int, hashed: bytes) -> None:
    assert read_head(write_head(Head(number, hashed))) == Head(number, hashed)


@pytest.mark.parametrize("text", ["", "1", "x:" + "0" * 64, "1:" + "g" * 64, "1:00", "-1:" + "0" * 64])
def test_what_is_no_head_is_refused_in_words(text: str) -> None:
    with pytest.raises(ValueError, match="is not a head"):
        read_head(text)


@given(st.text(max_size=20), st.text(max_size=20))
def test_two_fields_never_run_into_each_other(one: str, other: str) -> None:
    here = hash_of(1, a_deed(subject=one, detail=other), bytes(32))
    for shift in range(len(other)):
        moved = a_deed(subject=one + other[: shift + 1], detail=other[shift + 1 :])
        assert hash_of(1, moved, bytes(32)) != here
