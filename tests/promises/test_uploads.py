"""P8 for what is still on its way: collection spares an upload that will be named, and dooms one for good."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from tests.promises.ledger import (
    LARGE,
    NAME,
    TABLE,
    Ledger,
    check_integrity,
    check_store,
    environment,
    exercise,
    opened,
)
from virke.core.commit import SENDS
from virke.core.effects import PutOutcome, Tier
from virke.engine.branch import Branch
from virke.errors import Conflict, OutcomeUnknown, Unavailable
from virke.stores.base import Blobs, Call, Listed, Range, Store, put_each
from virke.stores.faulty import At, Fault, FaultyStore, LoseRequest, Refuse
from virke.stores.memory import memory_store


class Observed:
    """Blobs that let something happen when a put was carried out, before its answer is seen."""

    def __init__(self, inner: Blobs, happens: Callable[[], None]) -> None:
        self._inner = inner
        self._happens = happens
        self.part_bytes_max, self.consistency = inner.part_bytes_max, inner.consistency
        self.has_ranges = inner.has_ranges

    def put_all(self, objects: Sequence[tuple[str, bytes]]) -> PutOutcome:
        """One after another."""
        return put_each(self, objects)  # type: ignore[arg-type]

    def put_new(self, key: str, data: bytes) -> PutOutcome:
        """Store, then let it happen."""
        outcome = self._inner.put_new(key, data)
        self._happens()
        return outcome

    def get(self, ranges: Sequence[Range]) -> list[object]:
        """As below."""
        return list(self._inner.get(ranges))

    def delete(self, keys: Sequence[str]) -> None:
        """As below."""
        self._inner.delete(keys)

    def list(self, prefix: str) -> list[Listed]:
        """As below."""
        return list(self._inner.list(prefix))


def play(folder: Path, *, collections: int, watermark_first: bool) -> tuple[Store, set[str]]:
    """A fourth segment makes a node merge; while the merged one is uploaded, another node collects without grace.

    Returns the store and the keys that were there when the collections had run.
    """
    inner, ledger, puts, seen = memory_store(), Ledger(), list[int](), set[str]()
    with opened(inner, folder, create=True) as database:
        database.execute(TABLE)
        for number in range(3):
            ledger.insert(database, f"old-{number}", LARGE)
    if watermark_first:
        root = Branch(inner, NAME, environment()).refresh().root
        junk = f"seg/{root.database_id.hex()}/main/00000001-{root.head.version:016x}-{'0' * 32}-0.0000"
        inner.blobs[Tier.KV].put_new(junk, b"left behind by a writer that was killed")
    other = opened(inner, folder / "other")
    if watermark_first:
        other.collect(grace_ms=0)

    def happens() -> None:
        puts.append(1)
        if len(puts) == 2:  # the first is the commit's own segment
            for _ in range(collections):
                other.collect(grace_ms=0)
            seen.update(item.key for item in inner.blobs[Tier.KV].list("seg/"))

    kv = Observed(inner.blobs[Tier.KV], happens)
    store = Store(inner.url, inner.register, {**inner.blobs, Tier.KV: kv})  # type: ignore[dict-item]
    with opened(store, folder) as database:
        assert ledger.insert(database, "fourth", LARGE)
        assert len(puts) >= 2
        assert database.status().upkeep_error is None
    with opened(inner, folder) as database:
        ledger.check(database)
        check_integrity(database)
        check_store(inner)
        exercise(database, ledger, "again")
        ledger.check(database)
        check_store(inner)
    return inner, seen


def test_p8_a_merge_above_the_watermark_is_spared_and_named(tmp_path: Path) -> None:
    """A sweep that lists the store sees the upload, and leaves it; what a killed writer left is deleted."""
    _, seen = play(tmp_path, collections=1, watermark_first=True)
    assert len(seen) == 5, "four segments and the merged one"


def test_p8_a_merge_below_the_watermark_is_never_named(tmp_path: Path) -> None:
    """Two collections doom and delete the upload; the merge is given up, and another one succeeds."""
    _, seen = play(tmp_path, collections=2, watermark_first=False)
    assert len(seen) == 4, "the upload is gone"


def objects(store: Store) -> set[str]:
    """Every object of every tier."""
    return {item.key for blobs in store.blobs.values() for item in blobs.list("")}


@pytest.mark.parametrize("fault", [Refuse(), LoseRequest()], ids=["refused", "lost"])
def test_a_commit_that_the_store_did_not_take_leaves_an_object_only_where_it_may_be_needed(
    fault: Fault, tmp_path: Path
) -> None:
    """Refused for good, it is not in history and never will be; unanswered, it may still arrive."""
    inner = memory_store()
    with opened(inner, tmp_path, create=True) as database:
        database.execute(TABLE)
    before = objects(inner)
    faulty = FaultyStore(inner, [At(again + 1, fault, Call.SWAP) for again in range(SENDS)])
    with opened(faulty.store, tmp_path) as database, pytest.raises((Unavailable, OutcomeUnknown)) as told:
        database.execute("INSERT INTO entry VALUES ('large', randomblob(?))", (LARGE,))
    assert any(operation.call is Call.PUT for operation in faulty.log)
    assert bool(objects(inner) - before) == (told.value.kind == "outcome_unknown")


def test_an_import_that_is_known_to_have_lost_its_race_leaves_no_object(tmp_path: Path) -> None:
    """Another process committed while it uploaded, and this one has heard of that: the swap is not even sent."""
    inner = memory_store()
    with opened(inner, tmp_path, create=True) as database, opened(inner, tmp_path) as other:
        database.execute(TABLE)
        database.execute("INSERT INTO entry VALUES ('large', randomblob(?))", (LARGE,))
        before, base = objects(inner), database.snapshot()

        def pages() -> Iterator[tuple[int, bytes]]:
            yield from base.pages()
            other.execute("INSERT INTO entry VALUES ('other', NULL)")
            database.query("SELECT 1", consistency="strong")

        with pytest.raises(Conflict):
            database.long_write().commit_pages(
                base, page_size=base.page_size, page_count=base.page_count, pages=pages()
            )
        assert objects(inner) == before
