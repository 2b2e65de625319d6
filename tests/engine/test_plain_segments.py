"""Large segments on a disk of this machine: not compressed, read page by page, and verified all the same (P7)."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from virke.core.codec import DEFLATE, STORED
from virke.core.effects import Tier
from virke.engine.branch import Branch
from virke.engine.database import Database
from virke.engine.environment import Environment
from virke.engine.volume import Volume
from virke.errors import Corrupt
from virke.opening import connect
from virke.stores.base import Call, Store
from virke.stores.counted import CountingStore
from virke.stores.local.store import local_store
from virke.stores.memory import memory_store
from virke.transfer import import_file

ROWS = 6000


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file of some MiB that compresses well."""
    path = tmp_path_factory.mktemp("plain") / "image.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT)")
        connection.executemany("INSERT INTO t VALUES (?, ?)", ((n, f"row {n} " * 60) for n in range(ROWS)))
    connection.close()
    return path


def imported(store: Store, image: Path) -> Database:
    """A database in the object tier, as the image has it."""
    database = connect("x", store, create=True, background=False)
    database.change_settings({"tier": "object"})
    import_file(database, image)
    return database


def codecs(store: Store) -> set[int]:
    """The codecs of all frames of the newest version's segments."""
    volume = Volume(Branch(store, "x", Environment()))
    root = volume.branch.refresh().root
    return {
        frame.codec
        for index in volume.indexes(root.segments)
        for number in range(len(index.groups))
        for frame in index.frames(number)
    }


@pytest.mark.native
def test_imports_and_merges_are_plain_on_a_disk_of_this_machine_only(tmp_path: Path, image: Path) -> None:
    near, far = local_store(tmp_path / "store"), memory_store()
    for store, codec in ((near, STORED), (far, DEFLATE)):
        with imported(store, image) as database:
            assert codecs(store) == {codec}
            database.execute("UPDATE t SET v = v || '!' WHERE id % 7 = 0")
            for _ in range(40):
                database.execute("UPDATE t SET v = v || '!' WHERE id % 50 = 0")
            database.upkeep(None)
            [[count, length]] = database.query("SELECT count(*), sum(length(v)) FROM t").rows
            assert count == ROWS
        with connect("x", store, background=False) as database:
            assert database.query("SELECT count(*), sum(length(v)) FROM t").rows == [(count, length)]
            assert database.query("PRAGMA integrity_check").rows == [("ok",)]


@pytest.mark.native
def test_a_lookup_reads_one_frame_and_a_scan_each_frame_once(tmp_path: Path, image: Path) -> None:
    store = local_store(tmp_path / "store")
    imported(store, image).close()
    counting = CountingStore(store)
    with connect("x", replace(counting.store, is_metered=True), background=False) as database:
        database.query("SELECT v FROM t WHERE id = 1")
        counting.reset()
        database.query("SELECT v FROM t WHERE id = 5000")
        assert counting.of(Call.GET).requests <= 2
        counting.reset()
        database.query("SELECT sum(length(v)) FROM t")
        frames = image.stat().st_size // (32 << 10) + 1
        assert counting.of(Call.GET).requests <= frames + 2


@pytest.mark.native
@pytest.mark.parametrize("damage", ["a byte", "cut", "gone"])
def test_p7_damage_is_found_before_a_page_is_believed(tmp_path: Path, image: Path, damage: str) -> None:
    store = local_store(tmp_path / "store")
    imported(store, image).close()
    for path in (tmp_path / "store" / "objects").rglob("*~"):
        data = bytearray(path.read_bytes())
        data[1 << 20] ^= 1
        path.unlink()
        if damage != "gone":
            path.write_bytes(data if damage == "a byte" else data[: 1 << 20])
    with pytest.raises(Corrupt), connect("x", store, background=False) as database:
        database.query("SELECT sum(length(v)) FROM t")


@pytest.mark.native
def test_what_was_written_compressed_is_read_as_before(tmp_path: Path, image: Path) -> None:
    """Stores of the first release hold such segments."""
    store = local_store(tmp_path / "store")
    imported(replace(store, plain=frozenset()), image).close()
    assert codecs(store) == {DEFLATE}
    with connect("x", store, background=False) as database:
        assert database.query("SELECT count(*) FROM t").rows == [(ROWS,)]


def test_the_tier_that_is_plain_is_that_of_the_files(tmp_path: Path) -> None:
    assert local_store(tmp_path).plain == {Tier.OBJECT}
    assert memory_store().plain == frozenset()
