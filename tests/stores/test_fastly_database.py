"""A whole database on the Fastly KV store: what was answered is there, also where answers were lost or refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.servers.fastly_items import Trouble
from tests.servers.fastly_kv import KvServer
from tests.stores.conformance import at_once
from tests.stores.fastly import BUSY, LOST, PUTS, Place
from virke.engine.database import Database
from virke.errors import NotFound
from virke.opening import connect, delete, list_databases


@pytest.fixture
def place(fastly_kv_server: KvServer) -> Place:
    return Place(fastly_kv_server)


def opened(place: Place, folder: Path, *, create: bool = False) -> Database:
    return connect("app", place.opened(), create=create, state_dir=folder)


def rows_of(database: Database, sql: str = "SELECT n, text FROM t ORDER BY n") -> list[tuple[object, ...]]:
    return [tuple(row) for row in database.query(sql, consistency="strong").rows]


def test_a_database_keeps_every_commit(place: Place, tmp_path: Path) -> None:
    """Dozens of small commits and one of many parts are all there, for another opening as well."""
    with opened(place, tmp_path, create=True) as database:
        database.execute("CREATE TABLE t (n INTEGER PRIMARY KEY, text TEXT)")
        for n in range(40):
            assert database.execute("INSERT INTO t VALUES (?, ?)", (n, f"row {n}" * 30)) == 1
        database.executemany("INSERT INTO t VALUES (?, hex(randomblob(200)))", [(n,) for n in range(40, 2000)])
        database.execute("DELETE FROM t WHERE n % 2")
        expected = rows_of(database)
    with opened(place, tmp_path) as again:
        assert rows_of(again) == expected
        assert [row[0] for row in expected] == list(range(0, 2000, 2))
    held = place.items.held()
    assert {key.rsplit("/", 3)[0] for key in held if "register" in key} == {"place/register"}
    assert sum(key.startswith("place/blobs/seg/") for key in held) > 3
    assert max(len(data) for data, _ in held.values()) <= 100_000


@pytest.mark.parametrize("trouble", [BUSY, Trouble(503), Trouble(503, applied=True), Trouble(None), LOST], ids=str)
def test_each_commit_is_applied_once_whatever_becomes_of_its_first_write(
    place: Place, tmp_path: Path, trouble: Trouble
) -> None:
    """The first write of every commit is refused, fails or stays without an answer; each row is there once.

    A store that refuses for its rate is given more time after each refusal, so few commits of it are enough.
    """
    commits = 2 if trouble == BUSY else 12
    with opened(place, tmp_path, create=True) as database:
        database.execute("CREATE TABLE t (n INTEGER PRIMARY KEY, text TEXT)")
        for n in range(commits):
            place.items.plan(trouble, 1, PUTS)
            database.execute("INSERT INTO t (text) VALUES (?)", (f"row {n}",))
        assert rows_of(database) == [(n + 1, f"row {n}") for n in range(commits)]


def test_writers_of_several_openings_lose_nothing(place: Place, tmp_path: Path) -> None:
    """Four openings of one database count together: each addition is in the sum."""
    with opened(place, tmp_path / "0", create=True) as database:
        database.execute("CREATE TABLE t (n INTEGER PRIMARY KEY, text INTEGER)")
        database.execute("INSERT INTO t VALUES (1, 0)")
        database.change_settings({"max_attempts": 1000})

        def add(number: int) -> None:
            with opened(place, tmp_path / str(number + 1)) as mine:
                for _ in range(6):
                    mine.execute("UPDATE t SET text = text + 1")

        at_once(add, 4)
        assert rows_of(database) == [(1, 24)]


def test_a_deleted_database_leaves_nothing(place: Place, tmp_path: Path) -> None:
    """Its root and its objects are gone, and its name is free."""
    with opened(place, tmp_path, create=True) as database:
        database.execute("CREATE TABLE t (n INTEGER PRIMARY KEY, text TEXT)")
        database.executemany("INSERT INTO t VALUES (?, hex(randomblob(200)))", [(n,) for n in range(1000)])
    store = place.opened()
    assert list_databases(store) == ["app"]
    delete("app", store)
    assert place.items.held() == {}
    with pytest.raises(NotFound):
        opened(place, tmp_path)
    with opened(place, tmp_path / "new", create=True) as database:
        assert database.version == 1
