"""A large index of the object tier is summed up block by block: what came damaged is read again, from the store itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import apsw
import pytest

from bench.data import PAGE_BYTES, load_image
from tests.engine.world import make, reopen, store_of
from virke.core import index as indexes
from virke.core.effects import Absent, Tier
from virke.engine.database import Database
from virke.errors import Corrupt
from virke.stores.base import Blobs, Range, Store

ROWS = 3000
FILL = """
WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < ?)
INSERT INTO number SELECT n, randomblob(400) FROM c
"""
SUM = ROWS * (ROWS + 1) // 2


class Damaged:
    """Blobs of which a copy has one byte flipped; `is_store_damaged`: the store itself as well."""

    def __init__(self, inner: Blobs, key: str, at: int, *, is_store_damaged: bool) -> None:
        self._inner, self._key, self._at, self._is_store_damaged = inner, key, at, is_store_damaged
        self.fresh = 0

    def __getattr__(self, name: str) -> object:
        return getattr(self._inner, name)

    def get(self, ranges: Sequence[Range]) -> list[bytes | Absent]:
        """As they are, or damaged."""
        answers = self._inner.get(ranges)
        self.fresh += sum(asked.fresh for asked in ranges)
        return [self._damaged(asked, data) for asked, data in zip(ranges, answers, strict=True)]

    def _damaged(self, asked: Range, data: bytes | Absent) -> bytes | Absent:
        at = self._at - asked.offset
        if isinstance(data, Absent) or asked.key != self._key or not 0 <= at < len(data):
            return data
        if asked.fresh and not self._is_store_damaged:
            return data
        return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def damaged(database: Database, *, is_store_damaged: bool) -> tuple[Store, Damaged]:
    """The store of a database, the entries in whose index have a damaged byte."""
    store, [ref] = store_of(database), database.snapshot().root.segments
    [index] = reopen(store)._volume.indexes((ref,))
    assert index._inside is not None, "it is summed up late"
    at = index._inside.offset + 5
    blobs = Damaged(store.blobs[Tier.OBJECT], ref.index_key, at, is_store_damaged=is_store_damaged)
    return replace(store, blobs={**store.blobs, Tier.OBJECT: blobs}), blobs  # type: ignore[dict-item]


@pytest.fixture
def database(monkeypatch: pytest.MonkeyPatch) -> Database:
    """A database in the object tier, all of whose indexes count as large."""
    monkeypatch.setattr(indexes, "LATE_BYTES", 0)
    image = apsw.Connection(":memory:")
    image.execute(f"PRAGMA page_size={PAGE_BYTES}; CREATE TABLE number (n INTEGER PRIMARY KEY, filler BLOB)")
    image.execute(FILL, (ROWS,))
    made = make()
    made.change_settings({"tier": "object"})
    load_image(made, image.serialize("main"))
    return made


def test_p7_damaged_entries_of_a_copy_are_read_again(database: Database) -> None:
    """Rows, and a scan, are what was written."""
    store, blobs = damaged(database, is_store_damaged=False)
    again = reopen(store)
    assert again.query("SELECT count(*), sum(n), min(length(filler)) FROM number").rows == [(ROWS, SUM, 400)]
    assert blobs.fresh == 1


def test_p7_damaged_entries_of_the_store_are_corrupt(database: Database) -> None:
    store, _ = damaged(database, is_store_damaged=True)
    with pytest.raises(Corrupt):
        reopen(store).query("SELECT sum(length(filler)) FROM number")
