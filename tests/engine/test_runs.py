"""Pages that come along with the one that was asked for: never others than those of the snapshot, and never after a write."""

from __future__ import annotations

import random
from typing import Final

import pytest
from hypothesis import given

from tests.engine.paging import SIZE, STEPS, Step, take
from tests.engine.world import image, make
from virke.core.ids import PageNo
from virke.core.pagemap import NEWER_MAX
from virke.engine.database import Database
from virke.engine.snapshot import Snapshot
from virke.engine.vfs import PagedFile
from virke.stores.receipt import Receipt, writing_receipt

UPDATE: Final = "UPDATE t SET v = replace(v, 'a', ?) WHERE id = ?"


def _filled(rows: int) -> Database:
    """A database whose pages are in one segment."""
    db = make(page_size=SIZE)
    db.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, v)")
    noise = random.Random(3)
    db.executemany("INSERT INTO t (v) VALUES (?)", [(noise.randbytes(120).hex(),) for _ in range(rows)])
    assert db.snapshot().root.segments
    return db


SMALL: Final[Snapshot] = _filled(1000).snapshot()


def check(snapshot: Snapshot) -> int:
    """Compare every page of every run; returns how many pages came along with others."""
    along = 0
    for number in range(1, snapshot.page_count + 1):
        run = snapshot.run(number)
        assert run.keys() >= {number}
        assert all(data == snapshot.page(page) for page, data in run.items())
        along += len(run) - 1
    return along


@pytest.mark.edge
def test_what_comes_along_is_of_the_same_snapshot() -> None:
    """Also where other commits, of the root and of later segments, have newer pages of the same frame."""
    db, chosen = _filled(2000), random.Random(5)
    states = [db.snapshot()]
    for number in range(20):
        rows = 500 if number % 5 == 0 else 1
        db.executemany(UPDATE, [(str(number % 10), chosen.randint(1, 2000)) for _ in range(rows)])
        states.append(db.snapshot())
    states += [db.snapshot(at=version) for version in range(2, db.snapshot().version, 3)]
    assert any(len(state.root.segments) > 1 for state in states)
    assert all(check(state) for state in states)
    [*_, last] = (state for state in states if len(state.root.segments) > NEWER_MAX + 1)
    oldest = [n for n in range(2, last.page_count) if last.map.locate(PageNo(n)).ref is last.root.segments[0]]  # type: ignore[union-attr]
    assert oldest
    assert all(len(last.run(number)) == 1 for number in oldest), "many segments are newer"


@given(steps=STEPS)
def test_nothing_that_came_along_is_shown_after_a_write(steps: list[Step]) -> None:
    file, model = PagedFile(SMALL, 1 << 20), bytearray(image(SMALL))
    for step in steps:
        assert [file.xRead(SIZE, at) for at in (SIZE, 2 * SIZE)] == [model[at : at + SIZE] for at in (SIZE, 2 * SIZE)]
        take(step, file, model)
        for at in range(SIZE, min(len(model), 20 * SIZE), SIZE):
            assert file.xRead(SIZE, at) == model[at : at + SIZE]


def test_what_came_along_is_of_the_snapshot_that_is_shown() -> None:
    db = _filled(1000)
    old = db.snapshot()
    file = PagedFile(old, 1 << 20)
    for at in (SIZE, 2 * SIZE):  # the second read brings the page behind it
        file.xRead(SIZE, at)
    db.execute("UPDATE t SET v = replace(v, 'a', 'b')")
    file.move(db.snapshot())
    assert file.xRead(SIZE, 3 * SIZE) == db.snapshot().page(4) != old.page(4)


class _Asked:
    """A snapshot that counts how often it is asked for a page."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self.head, self.lineage = snapshot.head, snapshot.lineage
        self.times = 0

    def page(self, number: PageNo) -> bytes:
        self.times += 1
        return self._snapshot.page(number)

    def run(self, number: PageNo) -> dict[PageNo, bytes]:
        self.times += 1
        return self._snapshot.run(number)

    def page_here(self, number: PageNo) -> bytes | None:
        return self._snapshot.page_here(number)


class _WithFirst(_Asked):
    """A snapshot whose frames have the first page behind others, as other writers may order them."""

    def run(self, number: PageNo) -> dict[PageNo, bytes]:
        return {**super().run(number), PageNo(1): self.page(PageNo(1))}


def test_the_first_page_that_came_along_has_the_files_own_counter() -> None:
    """SQLite throws its cache away when that counter changes: it must be the same however the page comes."""
    file = PagedFile(_WithFirst(SMALL), 1 << 20)
    before = file.xRead(SIZE, 0)
    for at in (SIZE, 2 * SIZE):
        file.xRead(SIZE, at)
    assert file.xRead(SIZE, 0) == before


def test_a_scan_asks_once_for_all_pages_of_a_frame_and_its_receipt_has_each() -> None:
    asked = _Asked(_filled(2000).snapshot())
    file, receipt = PagedFile(asked, 1 << 20), Receipt()
    with writing_receipt(receipt):
        for at in range(0, file.xFileSize(), SIZE):
            file.xRead(SIZE, at)
    assert receipt.pages_read == asked.head.page_count
    assert asked.times < asked.head.page_count / 8
