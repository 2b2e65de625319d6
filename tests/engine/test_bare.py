"""A connection that was opened before any database was known shows what one shows that was opened on it (decision 0060)."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from pathlib import Path

import apsw
import pytest

from tests.engine.world import NAME, Clock, make, store_of
from virke.engine.bare import open_ahead
from virke.engine.database import Database
from virke.errors import Denied, Invalid, ReadOnly
from virke.stores.base import Store
from virke.transfer import import_file

CACHE_KIB = 512


def opened(store: Store, *, ahead: int) -> Database:
    """The database, whose first connections were opened before."""
    waiting = [open_ahead(CACHE_KIB) for _ in range(ahead)]
    return Database(store, NAME, environment=replace(Clock().environment, opened_ahead=waiting))


def with_table(page_size: int = 4096) -> Store:
    """A store whose database has one table with one row."""
    with make(page_size=page_size) as database:
        database.run_script("CREATE TABLE t (a); INSERT INTO t VALUES (1)")
        return store_of(database)


@pytest.mark.native
@pytest.mark.parametrize("page_size", [512, 4096, 65536])
@pytest.mark.parametrize("encoding", ["UTF-8", "UTF-16le", "UTF-16be"])
def test_it_reads_and_writes_a_database_of_any_kind(tmp_path: Path, page_size: int, encoding: str) -> None:
    raw = sqlite3.connect(tmp_path / "x.sqlite")
    raw.executescript(
        f"PRAGMA page_size={page_size}; PRAGMA encoding='{encoding}'; CREATE TABLE t (a TEXT, b); INSERT INTO t VALUES ('é', 1)"
    )
    raw.close()
    with make(page_size=page_size) as imported:
        import_file(imported, tmp_path / "x.sqlite")
    with opened(store_of(imported), ahead=2) as database:
        assert database.query("SELECT a, b FROM t").rows == [("é", 1)]
        database.execute("INSERT INTO t VALUES ('ü', 2)")
        assert database.query("SELECT a, b FROM t ORDER BY b").rows == [("é", 1), ("ü", 2)]
        assert database.query("PRAGMA page_size").rows == [(page_size,)]
        assert database.query("PRAGMA encoding").rows == [(encoding,)]
        assert database.query("PRAGMA integrity_check").rows == [("ok",)]


@pytest.mark.parametrize("page_size", [512, 4096, 65536])
def test_it_begins_an_empty_database_with_its_page_size(page_size: int) -> None:
    with opened(store_of(make(page_size=page_size)), ahead=2) as database:
        database.execute("CREATE TABLE t (a)")
        assert database.query("PRAGMA page_size").rows == [(page_size,)]


def test_each_is_used_once() -> None:
    waiting = [open_ahead(CACHE_KIB)]
    environment = replace(Clock().environment, opened_ahead=waiting)
    store = with_table()
    with Database(store, NAME, environment=environment) as one, Database(store, NAME, environment=environment) as two:
        assert one.query("SELECT a FROM t").rows == two.query("SELECT a FROM t").rows == [(1,)]
        assert not waiting


def test_it_is_closed_with_its_database() -> None:
    waiting = [open_ahead(CACHE_KIB)]
    name, raw = waiting[0].vfs.name, waiting[0].raw
    store = with_table()
    with Database(store, NAME, environment=replace(Clock().environment, opened_ahead=waiting)) as database:
        database.query("SELECT a FROM t")
        assert name in apsw.vfs_names()
    assert name not in apsw.vfs_names()
    with pytest.raises(apsw.ConnectionClosedError):
        raw.execute("SELECT 1")


def test_it_is_under_the_guard() -> None:
    store = with_table()
    with opened(store, ahead=1) as database:
        with pytest.raises(Denied, match="ATTACH is not allowed"):
            database.query("ATTACH 'x' AS y")
        with pytest.raises(ReadOnly):
            database.query("DELETE FROM t", read_only=True)
        with pytest.raises(Invalid):
            database.query("SELECT 1; SELECT 2")
