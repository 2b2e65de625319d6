"""What is damaged is found and named, whatever it is, and so is the newest version that is whole."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from tests.engine.world import NAME, Clock, make, reopen, store_of
from virke.core.collect import DAY_MS
from virke.core.effects import Tier
from virke.core.inline import encode_inline
from virke.core.pins import root_key
from virke.core.root import decode_root, encode_root
from virke.core.segment import Ref
from virke.core.verifying import Findings, check_inline, fresh_index
from virke.engine.alone import Alone
from virke.engine.database import Database
from virke.engine.environment import Environment
from virke.engine.verifying import Verified
from virke.errors import Corrupt
from virke.stores.base import Store

ROWS = 40


def filled(*, promoted: bool = False) -> Database:
    """A database of several segments, merged ones among them, and inline commits."""
    database = make()
    database.execute("CREATE TABLE t (n INTEGER PRIMARY KEY, filler BLOB)")
    for number in range(ROWS):
        database.execute("INSERT INTO t VALUES (?, ?)", (number, os.urandom(20_000)))
        if number % 8 == 7:
            database.upkeep(None)
    if promoted:
        database.promote()
    for number in range(6):
        database.execute("UPDATE t SET filler = ? WHERE n = ?", (os.urandom(150_000), number))
    database.execute("UPDATE t SET filler = 'small' WHERE n = 1")
    return database


def objects_of(database: Database, tier: Tier) -> dict[str, Any]:
    blobs: Any = store_of(database).blobs[tier]
    found: dict[str, Any] = blobs._objects
    return found


def damage(database: Database, ref: Ref, part: int, change: Callable[[bytes], bytes | None]) -> str:
    """Change one object behind the store's back; its key."""
    objects, key = objects_of(database, ref.tier), ref.identity.part_key(part)
    data = change(objects[key].data)
    if data is None:
        del objects[key]
    else:
        objects[key] = replace(objects[key], data=data)
    return key


def flipped(at: int) -> Callable[[bytes], bytes]:
    return lambda data: data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def verified(database: Database) -> Verified:
    """As another process finds it, which remembers nothing."""
    with Alone(store_of(database), NAME, Environment()) as alone:
        return alone.verify()


@pytest.mark.parametrize("promoted", [False, True])
def test_a_whole_database_is_whole_and_all_of_it_was_read(promoted: bool) -> None:
    database = filled(promoted=promoted)
    told: list[tuple[int, int]] = []
    found = reopen(store_of(database)).verify(lambda done, total: told.append((done, total)))
    root = database.snapshot().root
    assert (found.is_whole, found.damages) == (True, ())
    assert found.newest_whole == found.version == root.head.version
    assert found.pages == root.head.page_count
    assert found.bytes > root.head.page_count * root.head.page_size / 2
    assert told == sorted(told)
    assert len(told) > 1


def test_an_empty_database_is_whole() -> None:
    found = make().verify()
    assert (found.is_whole, found.pages, found.newest_whole) == (True, 0, 1)


def test_a_flipped_byte_in_a_frame_is_named_with_the_pages_and_the_version_before_it() -> None:
    database = filled()
    before = database.version
    database.execute("INSERT INTO t VALUES (1000, ?)", (os.urandom(400_000),))
    ref = database.snapshot().root.segments[-1]
    assert ref.lo > before - 2
    key = damage(database, ref, 0, flipped(100))
    found = verified(database)
    [one] = found.damages
    assert (one.kind, one.object) == ("frame", key)
    assert one.what.startswith("offset 0: ")
    assert "page" in one.what
    assert found.newest_whole == ref.lo - 1
    with_rows = reopen(store_of(database)).query("SELECT count(*), sum(length(filler)) FROM t", at=found.newest_whole)
    assert with_rows.rows[0][0] in (ROWS, ROWS + 1)


def test_a_damaged_index_is_named_and_versions_before_it_are_whole() -> None:
    database = filled()
    ref = database.snapshot().root.segments[-1]
    key = damage(database, ref, ref.parts - 1, flipped(ref.index_offset + 12))
    found = verified(database)
    [one] = found.damages
    assert (one.kind, one.object) == ("index", key)
    assert found.newest_whole == ref.lo - 1


def test_a_missing_object_is_named_once() -> None:
    database = filled()
    ref = database.snapshot().root.segments[-1]
    key = damage(database, ref, 0, lambda data: None)
    found = verified(database)
    [one] = found.damages
    assert (one.kind, one.object, one.what) == ("missing", key, "the object is missing")
    assert found.newest_whole == ref.lo - 1


def test_a_missing_part_that_holds_no_index_is_named_once() -> None:
    database = make()
    database.execute("CREATE TABLE t (n INTEGER PRIMARY KEY, filler BLOB)")
    database.promote()
    database.execute("INSERT INTO t SELECT value, randomblob(40000) FROM generate_series(1, 400)")
    ref = database.snapshot().root.segments[-1]
    assert ref.parts > 1
    key = damage(database, ref, 0, lambda data: None)
    found = verified(database)
    assert [(one.kind, one.object) for one in found.damages] == [("missing", key)]


def test_damage_in_the_oldest_segment_leaves_what_does_not_need_it_whole() -> None:
    """The newest version has the pages of that frame from a later segment; the versions before it do not."""
    database = make()
    database.execute("CREATE TABLE t (n INTEGER PRIMARY KEY, filler BLOB)")
    database.execute("INSERT INTO t SELECT value, randomblob(3000) FROM generate_series(1, 100)")
    old = database.snapshot().root.segments[0]
    database.execute("UPDATE t SET filler = randomblob(3000)")
    assert len(database.snapshot().root.segments) == 2
    last = database.version
    key = damage(database, old, 0, flipped(200_000))
    found = verified(database)
    assert [(one.kind, one.object) for one in found.damages] == [("frame", key)]
    assert found.newest_whole == last
    newest = database.snapshot().root.segments[1]
    damage(database, newest, 0, flipped(50_000))
    assert verified(database).newest_whole == last - 2


def test_damage_in_history_alone_leaves_the_newest_version_whole() -> None:
    """An input of a merge that only earlier versions are read through."""
    database = filled()
    database.upkeep(None)
    volume = database._volume
    merges = [ref for ref in database.snapshot().root.segments if ref.has_inputs]
    inner = volume.driver.run(fresh_index(merges[0])).inputs[0]
    key = damage(database, inner, 0, flipped(20))
    found = verified(database)
    assert [(one.kind, one.object) for one in found.damages] == [("frame", key)]
    assert found.newest_whole == found.version


def test_where_a_merge_is_damaged_the_versions_that_its_inputs_show_are_whole() -> None:
    database = filled()
    merge = database.snapshot().root.segments[0]
    assert merge.has_inputs
    assert merge.hi > merge.lo
    damage(database, merge, 0, flipped(400_000))
    found = verified(database)
    assert [one.kind for one in found.damages] == ["frame"]
    assert found.newest_whole == merge.hi - 1


def test_what_sqlite_finds_in_whole_frames_is_told_with_the_version_before_it() -> None:
    database = make()
    database.run_script("CREATE TABLE t (n INTEGER CHECK (n > 0)); INSERT INTO t VALUES (1), (2), (3)")
    for number in range(5):
        database.execute("INSERT INTO t VALUES (?)", (number + 10,))
    sound = database.version
    snapshot = database.snapshot()
    pages = dict(snapshot.pages())
    for _ in range(3):
        with database.long_write() as write:
            base = write.snapshot()
            pages = dict(base.pages())
            pages[2] = pages[2].replace(b"\x02\x01\x0b", b"\x02\x01\xfb")
            write.commit_pages(base, page_size=4096, page_count=len(pages), pages=sorted(pages.items()))
        database.execute("INSERT INTO t VALUES (77)")
    found = verified(database)
    assert {one.kind for one in found.damages} == {"sql"}
    assert "CHECK constraint failed" in found.damages[0].what
    assert found.newest_whole == sound


def test_whole_frames_that_are_not_the_state_of_the_commit_are_found() -> None:
    """A root whose head counted other pages than those that are stored."""
    database = filled()
    store: Store = store_of(database)
    register: Any = store.register
    record = register.read(root_key(NAME))
    root = decode_root(record.data, NAME)
    wrong = replace(root, head=replace(root.head, checksum=root.head.checksum ^ 1))
    register.swap(root_key(NAME), encode_root(wrong), record.generation)
    found = verified(database)
    assert [one.kind for one in found.damages] == ["state"]


def test_a_damaged_commit_in_the_root_is_found() -> None:
    """The root's own checksum makes this a fault of whoever wrote it, and still it is found."""
    database = make()
    database.execute("CREATE TABLE t (n)")
    root = database.snapshot().root
    [*rest, last] = root.inline
    wrong = replace(root, inline=(*rest, encode_inline(last.head, last.frames, bytes(len(last.data)))))
    findings = Findings()
    check_inline(wrong, findings, lambda frame, version, pages: None)
    assert [one.kind for one in findings.damages] == ["inline"]


def test_what_was_collected_is_not_asked_for() -> None:
    clock = Clock()
    database = make(clock=clock)
    database.execute("CREATE TABLE t (n INTEGER PRIMARY KEY, filler BLOB)")
    database.change_settings({"history_days": 1})
    for number in range(ROWS):
        database.execute("INSERT INTO t VALUES (?, ?)", (number, os.urandom(20_000)))
        database.upkeep(None)
        clock.pass_s(DAY_MS / 10_000)
    for _ in range(3):
        clock.pass_s(DAY_MS / 1000)
        database.collect(grace_ms=0)
    assert database.snapshot().root.horizon.swept_version > 1
    found = database.verify()
    assert found.damages == ()


def test_what_the_newest_root_needs_no_more_is_not_damage() -> None:
    """Upkeep and collection go on while it is read."""
    database = filled()
    other = reopen(store_of(database))
    other.change_settings({"history_days": 0})
    began: list[int] = []

    def meanwhile(done: int, total: int) -> None:
        if not began:
            began.append(1)
            other.execute("UPDATE t SET filler = zeroblob(9000)")
            other.upkeep(None)
            for _ in range(4):
                other.collect(grace_ms=0)

    found = database.verify(meanwhile)
    assert began
    assert found.damages == ()


def test_a_root_that_is_damaged_is_corrupt() -> None:
    database = filled()
    register: Any = store_of(database).register
    record = register.read(root_key(NAME))
    register.swap(root_key(NAME), flipped(40)(record.data), record.generation)
    with pytest.raises(Corrupt):
        verified(database)
