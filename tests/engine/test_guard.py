"""SQL stays inside its database and its limits, and whatever was refused leaves the connection fit (P11, P12)."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from tests.engine.world import Clock, dump_of, make, reopen, store_of
from virke.engine import sqlite
from virke.engine.connection import READER_CACHE_KIB, Connection
from virke.engine.database import Database
from virke.engine.memory import PROCESS
from virke.errors import Denied, SqlError, TimedOut, TooLarge, VirkeError

ENDLESS: Final = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c)"
NAMES: Final = sorted(row[0] for row in make().query("SELECT name FROM pragma_pragma_list").rows if row[0])
UNKNOWN_THERE: Final = pytest.mark.native  # a component's SQLite has no function of that name to deny
LISTED: Final = sqlite.ALLOWED | sqlite.READ_ONLY | sqlite.QUIET


def ways(db: Database) -> list[Callable[[str], object]]:
    """Everywhere that SQL comes in."""
    return [
        db.query,
        db.execute,
        db.run_script,
        lambda sql: db.batch(["SELECT 1", sql]),
        lambda sql: db.transaction().query(sql),
        lambda sql: db.run_script(f"PRAGMA user_version; {sql}"),
    ]


@pytest.fixture(autouse=True)
def _filled(db: Database) -> None:
    db.run_script("CREATE TABLE t (n); INSERT INTO t VALUES (1)")


@pytest.mark.edge
@pytest.mark.parametrize(
    "sql",
    [
        "ATTACH ':memory:' AS x",
        "ATTACH '' AS x",
        "ATTACH 'file.db' AS x",
        "DETACH main",
        "DETACH temp",
        "VACUUM INTO 'copy.db'",
        "VACUUM main INTO ':memory:'",
        pytest.param("SELECT load_extension('x')", marks=UNKNOWN_THERE),
        pytest.param("SELECT load_extension('x', 'y')", marks=UNKNOWN_THERE),
        "SELECT fts3_tokenizer('simple')",
        "SELECT fts3_tokenizer('x', x'00')",
        "CREATE VIEW v AS SELECT load_extension('x')",
        "PRAGMA writable_schema = ON",
        "PRAGMA writable_schema = RESET",
        "PRAGMA schema_version = 7",
        "PRAGMA trusted_schema = ON",
        "PRAGMA temp_store_directory = 'x'",
        "PRAGMA main.hard_heap_limit = 1",
        "PRAGMA no_such_pragma",
        "SAVEPOINT virke_mine",
        "RELEASE virke_request",
        "ROLLBACK TO VIRKE_statement",
    ],
)
def test_what_reaches_outside_is_denied_everywhere(db: Database, sql: str) -> None:
    """Nothing changes and the next call works, on whatever connection."""
    if "VIEW" in sql:
        db.execute(sql)
        sql = "SELECT * FROM v"
    before = dump_of(db.snapshot())
    for way in ways(db):
        with pytest.raises(VirkeError if "VACUUM" in sql or "FROM v" in sql else Denied):
            way(sql)
        assert db.query("SELECT n FROM t").rows == [(1,)]
    assert dump_of(db.snapshot()) == before
    assert db.execute("UPDATE t SET n = 2") == 1


@pytest.mark.edge
@pytest.mark.parametrize("sql", ["BEGIN", "BEGIN IMMEDIATE", "COMMIT", "END", "ROLLBACK", " rollback ;", "/**/Commit"])
def test_transaction_words_are_denied_in_calls(db: Database, sql: str) -> None:
    """Also those that the engine itself has prepared a moment ago; a script passes over BEGIN and COMMIT."""
    calls: list[Callable[[], object]] = [
        lambda: db.query(sql),
        lambda: db.execute(sql),
        lambda: db.batch(["INSERT INTO t VALUES (2)", sql]),
        lambda: db.transaction().execute(sql),
        lambda: db.run_script("INSERT INTO t VALUES (2); ROLLBACK"),
    ]
    for call in calls:
        with pytest.raises(Denied, match="not allowed"):
            call()
    assert db.query("SELECT n FROM t").rows == [(1,)]


@pytest.mark.edge
@pytest.mark.parametrize("name", [name for name in NAMES if name not in LISTED])
def test_a_pragma_that_no_list_names_is_denied(db: Database, name: str) -> None:
    """In reading and setting form, with a schema name, and as a table-valued function."""
    for sql in (f"PRAGMA {name}", f"PRAGMA {name} = 1", f"PRAGMA main.{name}(1)"):
        for call in (db.query, db.execute, db.run_script):
            with pytest.raises(Denied, match=name):
                call(sql)
    with pytest.raises(VirkeError):
        db.query(f"SELECT * FROM pragma_{name}")


@pytest.mark.edge
@pytest.mark.parametrize("name", sorted(sqlite.READ_ONLY - sqlite.WITH_ARGUMENT))
def test_a_reading_pragma_takes_no_value(db: Database, name: str) -> None:
    assert db.query(f"PRAGMA {name}").columns
    for call in (db.query, db.execute):
        with pytest.raises(Denied, match="can only be read"):
            call(f"PRAGMA {name} = 1")


@pytest.mark.edge
@pytest.mark.parametrize("name", sorted(sqlite.WITH_ARGUMENT))
def test_a_describing_pragma_takes_its_object(db: Database, name: str) -> None:
    db.execute("CREATE INDEX i ON t (n)")
    target = "i" if name.startswith("index_") and name != "index_list" else "t"
    for sql in (f"PRAGMA {name}({target})", f"SELECT * FROM pragma_{name}('{target}')"):
        assert isinstance(db.query(sql).rows, list)
        assert isinstance(db.run(sql).rows, list)


@pytest.mark.edge
@pytest.mark.parametrize("name", sorted(sqlite.QUIET))
def test_a_quiet_pragma_changes_nothing_and_is_no_error(db: Database, name: str) -> None:
    """Its reading form answers what it answered before; the database stays as it is."""
    before, version = db.query(f"PRAGMA {name}").rows, db.version
    for way in ways(db):
        way(f"PRAGMA {name} = 1")
        way(f"PRAGMA main.{name}('WAL')")
    assert db.query(f"PRAGMA {name}").rows == before
    if name != "wal_checkpoint":  # a lock error in any transaction, in plain SQLite too
        with db.transaction() as transaction:
            within = transaction.query(f"PRAGMA {name}").rows
        assert within == before or name in ("cache_size", "cache_spill")  # the cache of writers is small
    assert db.version == version
    assert db._writer.connections.usual is not None
    assert db._writer.connections.usual.raw.pragma("journal_mode") == "memory"


@pytest.mark.edge
@pytest.mark.parametrize("sql", ["SELECT * FROM pragma_journal_mode('wal')", "SELECT * FROM pragma_cache_size(9)"])
def test_a_pragma_function_is_no_way_around(db: Database, sql: str) -> None:
    with pytest.raises(SqlError):
        db.query(sql)
    assert db.query("SELECT * FROM pragma_journal_mode").rows == [("memory",)]
    assert db.query("SELECT * FROM pragma_cache_size").rows == [(-READER_CACHE_KIB,)]


@pytest.mark.edge
@pytest.mark.parametrize(
    "sql",
    [
        "SELECT " + "(" * 5000 + "1" + ")" * 5000,
        "SELECT " + "+".join(["1"] * 5000),
        "SELECT " + ",".join(["1"] * 3000),
        "SELECT " + " UNION ALL SELECT ".join(["1"] * 5000),
        "SELECT 1 FROM " + ",".join(["t"] * 100),
        "SELECT json('" + "[" * 5000 + "')",
        f"SELECT abs({','.join(['1'] * 2000)})",
    ],
)
def test_statements_that_are_too_deep_or_wide_are_errors(db: Database, sql: str) -> None:
    with pytest.raises((SqlError, TooLarge)):
        db.query(sql)
    assert db.query("SELECT n FROM t").rows == [(1,)]


@pytest.mark.edge
def test_a_statement_past_its_time_is_interrupted(clock: Clock) -> None:
    """Reads and writes alike; their connections go on, and the clock is the environment's."""
    db = make(clock=clock)
    db.run_script("CREATE TABLE t (n); INSERT INTO t VALUES (1)")
    clock.tick_s = 5.0
    for way in ways(db):
        with pytest.raises(TimedOut):
            way(f"{ENDLESS} SELECT count(*) FROM c")
        with pytest.raises(TimedOut):
            way(f"{ENDLESS} INSERT INTO t SELECT n FROM c")
        assert db.query("SELECT n FROM t").rows == [(1,)]
        assert db.execute("UPDATE t SET n = 1") == 1
    with pytest.raises(TimedOut):
        db.executemany(f"{ENDLESS} INSERT INTO t SELECT n FROM c WHERE n > ?", [(1,)])
    assert db.query("SELECT n FROM t").rows == [(1,)]


@pytest.mark.edge
def test_a_large_schema_is_read_after_a_long_pause(clock: Clock) -> None:
    """The time of an earlier statement does not count for what the engine itself does next."""
    db = make(clock=clock)
    db.run_script(";".join(f"CREATE TABLE t{n} (a, b, c)" for n in range(1500)))
    for pause_s in (0, 3600, 3600):
        clock.pass_s(pause_s)
        reopen(store_of(db)).execute("CREATE TABLE IF NOT EXISTS another (n)")
        reopen(store_of(db)).execute("DROP TABLE another")
        assert db.query("SELECT count(*) FROM sqlite_schema").rows == [(1500,)]
        assert db.execute("INSERT INTO t7 VALUES (1, 2, 3)") == 1
        with db.transaction() as transaction:
            assert transaction.execute("DELETE FROM t7") == 1


@pytest.mark.edge
@pytest.mark.parametrize("rows", [1, 3, 15, 16, 500])
def test_a_result_above_its_limit_is_too_large(db: Database, rows: int) -> None:
    """Many rows or a few long ones; a single value too. What fits is answered."""
    db.change_settings({"max_result_mb": 1})
    size = (1 << 20) // rows
    sql = f"{ENDLESS}, few AS (SELECT n FROM c LIMIT {rows}) SELECT zeroblob({{}}) FROM few"
    for way in ways(db):
        with pytest.raises(TooLarge):
            way(sql.format(size + 5000))
    assert len(db.query(sql.format(size - 200)).rows) == rows
    assert db.query("SELECT n FROM t").rows == [(1,)]


@pytest.mark.edge
def test_a_raised_limit_holds_at_once(db: Database) -> None:
    """Also for connections that are open, also for the largest value that the setting takes."""
    db.change_settings({"max_result_mb": 1})
    with pytest.raises(TooLarge):
        db.execute("INSERT INTO t VALUES (zeroblob(3000000))")
    db.change_settings({"max_result_mb": 4096})
    db.execute("INSERT INTO t VALUES (zeroblob(3000000))")
    assert reopen(store_of(db)).query("SELECT max(length(n)) FROM t").rows == [(3_000_000,)]
    assert len(db.query("SELECT n FROM t").rows) == 2


@pytest.mark.edge
def test_the_page_cache_is_bounded(db: Database) -> None:
    """SQLite's and the frames', however much is read: together they stay within the budget of the process."""
    db.execute("CREATE TABLE big (v)")
    db.executemany("INSERT INTO big VALUES (zeroblob(?))", [(900_000,)] * 40)
    before = PROCESS.bytes_max
    try:
        PROCESS.resize(sqlite.memory_used() * 4 // 3 + (16 << 20))
        for _ in range(2):
            assert db.query("SELECT sum(length(v)) FROM big").rows == [(36_000_000,)]
            assert sqlite.memory_used() <= PROCESS.heap_bytes_max + (1 << 20)
            assert sqlite.memory_used() + PROCESS.frames.size_bytes <= PROCESS.bytes_max + (1 << 20)
    finally:
        PROCESS.resize(before)


@pytest.mark.edge
def test_a_transaction_above_the_overlay_s_limit_is_too_large_and_leaves_nothing(db: Database) -> None:
    """SQLite's own rollback works in an overlay that is full, and the connection goes on."""
    connection = Connection(db.snapshot(), value_bytes_max=1 << 24, overlay_bytes_max=2 << 20)
    for _ in range(2):
        with pytest.raises(TooLarge, match="2 MiB"):
            _write_too_much(connection)
        connection.move(db.snapshot())
        assert not connection.file.is_dirty
        assert connection.fetch("SELECT n FROM t", (), 1 << 20)[1] == [(1,)]
        connection.control("BEGIN IMMEDIATE")
        connection.fetch("INSERT INTO t VALUES (2)", (), 1 << 20)
        connection.control("COMMIT")
        assert connection.fetch("SELECT count(*) FROM t", (), 1 << 20)[1] == [(2,)]
        connection.move(db.snapshot())
    connection.close()


def _write_too_much(connection: Connection) -> None:
    connection.control("BEGIN IMMEDIATE")
    for _ in range(40):
        connection.fetch("INSERT INTO t VALUES (zeroblob(900000))", (), 1 << 20)
    connection.control("COMMIT")


def test_the_documented_pragmas_are_those_of_the_guard() -> None:
    """The lists in docs/sql.md and the constants of engine/sqlite.py name the same."""
    text = (Path(__file__).resolve().parents[2] / "docs" / "sql.md").read_text()
    expected = {
        "allowed": sqlite.ALLOWED - sqlite.MODES,
        "modes": sqlite.MODES,
        "read only": sqlite.READ_ONLY - sqlite.WITH_ARGUMENT,
        "describing": sqlite.WITH_ARGUMENT,
        "quiet": sqlite.QUIET,
        "denied functions": sqlite.DENIED_FUNCTIONS,
    }
    for title, names in expected.items():
        found = re.search(rf"<!-- {title} -->\n(.*?)\n\n", text, re.DOTALL)
        assert found, f"docs/sql.md has no list {title!r}"
        assert set(re.findall(r"`(\w+)`", found[1])) == names
    assert sqlite.WITH_ARGUMENT <= sqlite.READ_ONLY
    assert sqlite.MODES <= sqlite.ALLOWED
    assert not sqlite.ALLOWED & sqlite.READ_ONLY
    assert not sqlite.QUIET & (sqlite.ALLOWED | sqlite.READ_ONLY)


def test_a_transaction_may_change_1_gib_of_pages_and_no_page_more() -> None:
    """As the documents say; the pages are one object here, so that the test needs no such memory."""
    size = 65_536
    file = Connection(make(page_size=size).snapshot(), value_bytes_max=1 << 24).file
    page, count = bytes(size), (1 << 30) // size
    for number in range(count):
        file.xWrite(page, number * size)
    with pytest.raises(TooLarge, match="1024 MiB"):
        file.xWrite(page, count * size)
