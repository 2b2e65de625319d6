"""Requests that are never made, counted where they would arrive: no LIST but for those that ask for one, none when idle."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Final

import pytest

from tests.promises.ledger import LARGE, NAME, TABLE, insert
from tests.promises.places import fresh
from tests.servers.proxy import Proxy, Request, proxy
from tests.servers.s3 import S3Server
from virke.migrations import migrate
from virke.opening import connect, create, delete, list_databases
from virke.transfer import export_file, import_file

IDLE_S: Final = 0.3


class Lists:
    """The LIST requests that a proxy has seen."""

    def __init__(self, way: Proxy) -> None:
        self.paths: list[str] = []
        way.fault = self._look

    def _look(self, request: Request) -> None:
        if request.method == "GET" and "list-type=2" in request.path:
            self.paths.append(request.path)


@pytest.fixture
def way(seaweedfs: S3Server) -> Iterator[Proxy]:
    with proxy(seaweedfs.endpoint) as running:
        yield running


@pytest.fixture(params=["object", "kv+object"])
def url(request: pytest.FixtureRequest, way: Proxy, client: Path, tmp_path: Path) -> str:
    """A store through the proxy: alone, or below a local KV store."""
    far = S3Server("proxy", way.endpoint).url(fresh())
    return far if request.param == "object" else f"local:{tmp_path / 'kv'},{far}"


def test_p9_nothing_but_gc_list_and_delete_lists(url: str, way: Proxy, tmp_path: Path) -> None:
    """Everything else that a database does, its merges, its promotion and its collection by itself included."""
    lists, files = Lists(way), tmp_path / "migrations"
    files.mkdir()
    (files / "001_more.sql").write_text("CREATE TABLE more (n); INSERT INTO more VALUES (1);")
    create(NAME, url).close()
    with connect(NAME, url, create=True) as database:
        database.execute(TABLE)
        database.change_settings({"history_days": 0, "promote_at_mb": 1, "flush_interval_ms": 1})
        migrate(database, files)
        import_file(database, BytesIO(b"INSERT INTO entry VALUES ('imported', randomblob(200000));"))
        for number in range(24):
            insert(database, f"row-{number}", LARGE if number % 2 else 3000)
        with database.transaction() as transaction:
            transaction.execute("INSERT INTO entry VALUES ('transaction', NULL)")
        database.change_settings({"durability": "deferred"})
        insert(database, "deferred")
        database.flush()
        database.promote()
        status, snapshot = database.status(), database.snapshot()
        export_file(database, tmp_path / "out.sql")
    with connect(NAME, url) as database:
        assert database.query("SELECT count(*) FROM entry", consistency="strong").rows == [(27,)]
        database.snapshot(database.version - 1)
    assert (status.tier, status.upkeep_error) == ("object", None)
    assert any(ref.has_inputs for ref in snapshot.root.segments), "nothing was merged"
    assert snapshot.root.horizon.version > 0, "no collection began"
    assert lists.paths == []
    with connect(NAME, url) as database:
        database.collect()
        assert len(lists.paths) >= 1
    assert list_databases(url) == [NAME]
    before = len(lists.paths)
    delete(NAME, url)
    assert len(lists.paths) > before


def test_p9_an_idle_database_asks_its_server_nothing(url: str, way: Proxy) -> None:
    """Open in two connections, after reads, writes and a deferred write that is pushed in the background."""
    with connect(NAME, url, create=True) as database, connect(NAME, url) as other:
        database.execute(TABLE)
        insert(database, "a", LARGE)
        database.change_settings({"durability": "deferred", "flush_interval_ms": 1, "max_staleness_ms": 1})
        insert(database, "deferred")
        for thread in threading.enumerate():
            if thread.name == "virke-flush":
                thread.join(30)
        assert database.status().pending_writes == 0
        assert other.query("SELECT count(*) FROM entry", consistency="strong").rows == [(2,)]
        way.reset()
        threading.Event().wait(IDLE_S)
        assert (database.bookmark > "", other.known_settings.max_staleness_ms) == (True, 1)
        assert way.requests == {}
