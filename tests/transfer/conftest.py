"""Databases to import into, the reference shell, and a database that holds one of everything."""

from __future__ import annotations

import gzip
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest

from virke.engine.database import Database
from virke.opening import create

DATA: Final = Path(__file__).resolve().parents[1] / "data"
SHELL: Final = shutil.which("sqlite3")
needs_shell = pytest.mark.skipif(SHELL is None, reason="no sqlite3 shell to compare with")

ZOO: Final = """
PRAGMA page_size=1024;
CREATE TABLE "a b"(x INTEGER PRIMARY KEY, "y ""z" REAL, t TEXT, b BLOB, g AS (x*2), s AS (x+1) STORED);
INSERT INTO "a b" VALUES
  (1, 1e999, 'a' || char(10) || 'b''c' || char(13) || 'd', X'00ff'), (2, -1e999, '', NULL), (3, 0.5, 'é😀', 'text'),
  (4, 1e15, '\\n' || char(10) || '\\012', 1.25), (5, -9223372036854775808.0, '(\\n0)' || char(10), zeroblob(3)),
  (6, 2.5, '''', -9223372036854775808), (-7, 1e300, '--;/*', 9223372036854775807);
CREATE TABLE wr(a TEXT PRIMARY KEY, b) WITHOUT ROWID;
INSERT INTO wr VALUES ('b', 1), ('a', 2);
CREATE TABLE strict_one(a INT, b ANY) STRICT;
INSERT INTO strict_one VALUES (1, '1'), (2, 2);
CREATE TABLE counted(id INTEGER PRIMARY KEY AUTOINCREMENT, v DEFAULT (1 + 1));
INSERT INTO counted(v) VALUES (1), (2), (3);
DELETE FROM counted WHERE id = 3;
CREATE TABLE "select"("from", 'group', [order by], `index`, plain, _x1, "1a", "ä");
INSERT INTO "select" VALUES (1, 2, 3, 4, 5, 6, 7, 8);
CREATE TABLE noted(a -- the first; column
, b /* the; second */) -- tail;
;
CREATE TABLE 'single'(a);
CREATE TABLE added(a);
INSERT INTO added VALUES (1);
ALTER TABLE added ADD COLUMN c DEFAULT 7;
CREATE VIEW v AS SELECT * FROM wr -- seen
;
CREATE INDEX i ON wr(b) WHERE b > 0;
CREATE TRIGGER tr AFTER INSERT ON wr BEGIN
  SELECT CASE WHEN new.b = 1 THEN 2 END; INSERT INTO counted(v) VALUES (new.b); -- END;
END;
CREATE UNIQUE INDEX "odd ""index" ON added(a, c DESC);
CREATE TRIGGER "t;r" INSTEAD OF DELETE ON v BEGIN DELETE FROM wr WHERE a = old.a; END;
CREATE VIRTUAL TABLE words USING fts5(title, 'body');
INSERT INTO words VALUES ('hello', 'world'), ('it''s', 'me');
CREATE VIRTUAL TABLE boxes USING rtree(id, x0, x1);
INSERT INTO boxes VALUES (1, 2, 3);
ANALYZE;
"""


@pytest.fixture(params=["memory", "local"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """An empty database on each store that needs no server."""
    store = "memory://" if request.param == "memory" else f"local:{tmp_path / 'store'}"
    with create("subject", store) as database:
        yield database


@pytest.fixture
def other(tmp_path: Path) -> Iterator[Database]:
    """A second empty database."""
    with create("other", "memory://") as database:
        yield database


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, str | bytes], Path]:
    """Write a file by name and content."""

    def write(name: str, content: str | bytes) -> Path:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


@pytest.fixture
def zoo(tmp_path: Path) -> Path:
    """An SQLite file with one of everything, made by the library of this Python."""
    path = tmp_path / "zoo.sqlite"
    connection = sqlite3.connect(path)
    connection.executescript(ZOO)
    connection.close()
    return path


@pytest.fixture(scope="session")
def chinook() -> str:
    """The Chinook sample database as SQL."""
    return gzip.decompress((DATA / "chinook.sql.gz").read_bytes()).decode("utf-8-sig")


def shell_dump(path: Path) -> str:
    """What the sqlite3 shell prints as `.dump`."""
    assert SHELL
    done = subprocess.run([SHELL, str(path), ".dump"], check=True, capture_output=True)
    return done.stdout.decode()


def content(database: Database) -> dict[str, object]:
    """All that a database holds, in an order that does not depend on how it was made."""
    schema = database.query("SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY type, name").rows
    found: dict[str, object] = {"schema": schema}
    for kind, name, _, sql in schema:
        if kind == "table" and not str(sql).startswith("CREATE VIRTUAL"):
            quoted = str(name).replace('"', '""')
            rows = database.query(f'SELECT * FROM "{quoted}"').rows
            found[str(name)] = sorted(repr(row) for row in rows)
    return found
