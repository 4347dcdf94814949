"""Small documents are kept in the words of earlier ones of their kind."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from common import digest
from controller.store.sqlite import SqliteStore


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    store = SqliteStore.open(tmp_path / "patchwarden.db")
    yield store
    await store.close()


def a_document(number: int) -> bytes:
    """One of a kind that differs in a few words."""
    words = [f"{random.Random(place).randrange(1 << 60):x}" for place in range(60)]
    return f'{{"host": "{number}", "words": {words}}}'.encode()


def a_listing(seed: int) -> bytes:
    """One of another kind, like no other of it: each becomes a dictionary."""
    dice = random.Random(seed)
    return b"".join(b"%d\tCentOS\n" % dice.randrange(10**9, 2 * 10**9) for _ in range(400))


async def kept(store: SqliteStore, content: bytes) -> tuple[int, bool]:
    """Put content; return how many bytes it takes, and whether it is said in another's words."""
    name = digest.of(content)
    await store.inventory.put_blob(name, content)
    assert await store.inventory.get_blob(name) == content
    query = "SELECT length(content), base IS NOT NULL FROM blob WHERE digest = :digest"
    row = await store._database.row(query, {"digest": name})
    assert row is not None
    return row[0], bool(row[1])


async def test_a_document_like_an_earlier_one_takes_a_tenth(store: SqliteStore) -> None:
    alone, has_base = await kept(store, a_document(1))
    assert not has_base
    for number in range(2, 20):
        size, has_base = await kept(store, a_document(number))
        assert has_base
        assert size * 10 < alone


async def test_documents_of_another_kind_do_not_push_out_a_dictionary_that_serves(store: SqliteStore) -> None:
    await kept(store, a_document(0))
    for number in range(1, 40):
        assert not (await kept(store, a_listing(number)))[1]
        assert (await kept(store, a_document(number)))[1]


async def test_a_dictionary_that_was_undone_serves_nobody(store: SqliteStore) -> None:
    await kept(store, a_document(0))
    blobs = store.inventory._blobs  # type: ignore[attr-defined]

    runs = list[str]()

    def fail_once(db: object) -> None:
        runs.append("run")
        if len(runs) == 1:  # what it wrote is undone with all its group, then it runs again
            blobs._put_small(db, digest.of(a_listing(1)), a_listing(1))
            blobs._put_small(
                db, digest.of(a_document(1)), a_document(1)
            )  # so that the one that is undone is not the first
            raise ValueError("undo it")

    await store._database.write(fail_once)
    assert len(runs) == 2
    assert not (await kept(store, a_listing(1)))[1]
    assert (await kept(store, a_document(2)))[1]
