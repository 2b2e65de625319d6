"""Tiers on real stores: what crosses the border moves by itself, readers and writers go on, no value is too large."""

from __future__ import annotations

import itertools
import threading
from pathlib import Path

import pytest

from bench.data import write_catalogue
from tests.promises.ledger import check_integrity, check_store
from tests.servers.s3 import CREDENTIALS, S3Server
from tests.servers.valkey import ValkeyServer
from virke.core.effects import Record, Tier
from virke.core.pins import root_key
from virke.engine.database import Database
from virke.opening import connect, open_store
from virke.stores.base import Store
from virke.transfer import import_file

pytestmark = pytest.mark.once

NAME = "ledger"
KV_VALUE_MOST = 1 << 20
_numbers = itertools.count()


@pytest.fixture
def both(seaweedfs: S3Server, valkey_server: ValkeyServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Store:
    """A KV store and an object store, each real, each empty."""
    for name, value in {**CREDENTIALS, "VIRKE_CACHE": "off", "HOME": str(tmp_path)}.items():
        monkeypatch.setenv(name, value)
    number = next(_numbers)
    return open_store(f"{valkey_server.url(prefix=f'tiers{number}')},{seaweedfs.url(f'tiers/{number}')}")


def moved(store: Store, database: Database) -> None:
    """Every page is in object storage, and history is whole."""
    root = database.snapshot().root
    assert database.status().tier == "object"
    assert {ref.tier for ref in root.segments} == {Tier.OBJECT}
    check_integrity(database)
    check_store(store)
    record = store.register.read(root_key(NAME))
    assert isinstance(record, Record)
    assert len(record.data) <= KV_VALUE_MOST
    assert all(item.size_bytes <= KV_VALUE_MOST for item in store.blobs[Tier.KV].list(""))


def test_an_import_of_24_mb_promotes_itself(both: Store, tmp_path: Path) -> None:
    """It goes to object storage at once; nothing of it passes through the KV store."""
    items = write_catalogue(tmp_path / "catalogue.sqlite", 23)
    assert (tmp_path / "catalogue.sqlite").stat().st_size > 24_000_000
    with connect(NAME, both, create=True, background=False) as database:
        assert database.status().tier == "kv"
        import_file(database, tmp_path / "catalogue.sqlite")
        moved(both, database)
        assert list(both.blobs[Tier.KV].list("")) == []
    with connect(NAME, both, background=False) as database:
        assert database.query("SELECT count(*) FROM items").rows == [(items,)]


def test_a_database_that_grows_promotes_itself_beside_readers_and_writers(both: Store) -> None:
    """Rows come in from two threads while it moves, and readers see every version whole: counts never go back."""
    with connect(NAME, both, create=True) as database:
        database.change_settings({"promote_at_mb": 1, "max_staleness_ms": 0})
        database.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, v)")
        seen, stop = list[int](), threading.Event()

        def read() -> None:
            while not stop.is_set():
                ((count, highest),) = database.query("SELECT count(*), coalesce(max(id), 0) FROM t").rows
                assert count == highest
                seen.append(int(count))  # type: ignore[arg-type]

        def write() -> None:
            for _ in range(25):
                database.execute("INSERT INTO t (v) VALUES (randomblob(50000))")

        reader = threading.Thread(target=read)
        writers = [threading.Thread(target=write) for _ in range(2)]
        for thread in (reader, *writers):
            thread.start()
        for thread in writers:
            thread.join()
        stop.set()
        reader.join()
        assert seen == sorted(seen)
        database._upkeep.finish()
        assert database.status().upkeep_error is None
        assert database.query("SELECT count(*) FROM t").rows == [(50,)]
        moved(both, database)


def test_without_a_background_a_database_moves_by_steps_of_upkeep(both: Store) -> None:
    """The write that crosses the border is answered at once, and changes nothing else."""
    with connect(NAME, both, create=True, background=False) as database:
        database.change_settings({"promote_at_mb": 1})
        database.execute("CREATE TABLE t (v)")
        database.executemany("INSERT INTO t VALUES (randomblob(50000))", [()] * 10)
        assert database.status().tier == "kv"
        database.executemany("INSERT INTO t VALUES (randomblob(50000))", [()] * 20)
        assert database.status().upkeep_due == ("promote",)
        assert database.status().tier == "kv"
        while database.upkeep().due:
            check_integrity(database)
        moved(both, database)


def test_a_store_without_object_tier_keeps_what_grows(valkey_server: ValkeyServer) -> None:
    """There is nowhere to go: it stays, and `promote` says why it can't."""
    store = open_store(valkey_server.url(prefix=f"tiers{next(_numbers)}"))
    with connect(NAME, store, create=True, background=False) as database:
        database.change_settings({"promote_at_mb": 1})
        database.execute("CREATE TABLE t (v)")
        database.executemany("INSERT INTO t VALUES (randomblob(50000))", [()] * 40)
        assert database.status().tier == "kv"
        assert database.status().upkeep_error is None
        check_store(store)
