"""A database of a node is used as an embedded one: the same calls, classes, values and errors."""

from __future__ import annotations

import asyncio
import gc
import inspect
import math
import threading
from collections import deque
from contextlib import suppress
from dataclasses import fields
from pathlib import Path

import pytest

import virke
from tests.client.conftest import TABLE
from tests.servers.node import Node
from virke import aio
from virke.client.database import RemoteDatabase
from virke.client.rows import RemoteRows
from virke.client.transaction import RemoteTransaction
from virke.engine.database import Database
from virke.engine.programs import Step
from virke.engine.rows import Rows
from virke.engine.transaction import Transaction
from virke.errors import VirkeError
from virke.migrations import migrate, status, undo
from virke.transfer import export_file, import_file

VALUES = (
    None,
    0,
    -(1 << 63),
    (1 << 63) - 1,
    1 << 53,
    0.1,
    -0.0,
    math.inf,
    -math.inf,
    "",
    "ä\0b\U0001f600",
    b"",
    b"\0\xff",
)


@pytest.mark.parametrize(
    ("ours", "theirs"), [(RemoteDatabase, Database), (RemoteTransaction, Transaction), (RemoteRows, Rows)]
)
def test_no_public_method_is_inherited(ours: type, theirs: type) -> None:
    """A line of the embedded class would look for parts that are not here."""
    public = {name for name, _ in inspect.getmembers(theirs) if not name.startswith("_") and hasattr(theirs, name)}
    assert public - vars(ours).keys() <= {"finish"}, "it calls `commit` and `rollback`"


def test_values_come_back_as_they_were(db: virke.Database) -> None:
    for value in VALUES:
        [(found,)] = db.query("SELECT ?", (value,)).rows
        assert (found, type(found), math.copysign(1, found) if isinstance(found, float) else 0) == (
            value,
            type(value),
            math.copysign(1, value) if isinstance(value, float) else 0,
        )
    assert db.query("SELECT :a, :b", {"a": True, "b": bytearray(b"x")}).rows == [(1, b"x")]
    broken = b"\xff\x41".decode(errors="surrogateescape")
    assert db.query("SELECT CAST(x'ff41' AS TEXT)").rows == [(broken,)]
    assert db.query("SELECT hex(?)", (broken,)).rows == [("FF41",)]


def test_statements_answer_the_same(db: virke.Database) -> None:
    made = db.query("INSERT INTO item (name, price) VALUES ('tea', 4.5), ('jam', 3.0) RETURNING id, name")
    assert (made.columns, made.rows, made.rows_affected, made.last_insert_rowid) == (
        ["id", "name"],
        [(1, "tea"), (2, "jam")],
        2,
        2,
    )
    assert (made.version, made.bookmark) == (db.version, db.bookmark)
    read = db.query("SELECT id, price, price * 2 FROM item", meta=True)
    assert (read.decltypes, read.rows) == (["INTEGER", "REAL", None], [(1, 4.5, 9.0), (2, 3.0, 6.0)])
    assert read.meta is not None
    assert read.meta.version == db.version
    assert db.execute("UPDATE item SET price = 1 WHERE id > ?", [0]) == 2
    assert db.executemany("INSERT INTO item (name) VALUES (:name)", [{"name": "a"}, {"name": "b"}]) == 2
    assert db.executemany("INSERT INTO item (name) VALUES (?)", []) == 0
    results = db.batch(["SELECT count(*) FROM item", ("DELETE FROM item WHERE name = ?", ["a"])], meta=True)
    assert [(one.rows, one.rows_affected) for one in results] == [([(4,)], 0), ([], 1)]
    assert db.batch([]) == []
    script = db.run_script("INSERT INTO item (name) VALUES ('c'); SELECT count(*) AS n FROM item", meta=True)
    assert (script.columns, script.rows, script.rows_affected) == (["n"], [(4,)], 1)
    assert all(one.meta for one in (*results, script))
    assert db.run("SELECT 1").rows == [(1,)]
    assert db.query("SELECT count(*) FROM item", at=made.version).rows == [(2,)]


@pytest.mark.parametrize(
    ("sql", "params"),
    [
        ("SELECT * FROM missing", ()),
        ("SELEC", ()),
        ("SELECT 1; SELECT 2", ()),
        ("", ()),
        ("SELECT ?", ()),
        ("SELECT :a", {"b": 1}),
        ("SELECT ?", "text"),
        ("SELECT ?", [1 << 63]),
        ("SELECT ?", [object()]),
        ("INSERT INTO item (id, name) VALUES (1, 'x'), (2, 'x')", ()),
        ("INSERT INTO item (id) VALUES ('x')", ()),
        ("ATTACH 'x' AS y", ()),
        ("PRAGMA writable_schema = ON", ()),
        ("SELECT load_extension('x')", ()),
        ("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT sum(i) FROM n", ()),
    ],
)
def test_errors_are_those_of_an_embedded_database(
    served: Node, tmp_path: Path, name: str, sql: str, params: object
) -> None:
    """Class, words, hint, SQLite's code and place."""
    said = []
    for where in (f"local:{tmp_path}", served.url):
        with virke.connect(name, where, create=True) as database:
            database.run_script(TABLE)
            with pytest.raises(VirkeError) as raised:
                database.query(sql, params, timeout_ms=200)  # type: ignore[arg-type]
            error = raised.value
            more = (error.sqlite_code, error.offset) if isinstance(error, virke.SqlError) else ()
            said.append((type(error), error.message, error.context.get("hint"), error.retryable, *more))
    assert said[0] == said[1]


def test_rows_come_one_by_one(db: virke.Database) -> None:
    """A result of any size, and what comes after it is sound."""
    numbers = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000) SELECT i, hex(randomblob(20)) FROM n"
    with db.query_rows(numbers) as rows:
        assert (rows.columns, rows.decltypes) == (["i", "hex(randomblob(20))"], [None, None])
        assert [row[0] for row in rows] == [*range(1, 20001)]
        assert (rows.version, rows.bookmark) == (db.version, db.bookmark)
    with db.query_rows(numbers) as rows:
        assert next(rows)[0] == 1
        assert (rows.version, rows.bookmark) == (db.version, db.bookmark)
    forgotten = db.query_rows(numbers)
    next(forgotten)
    del forgotten
    gc.collect()
    assert [*db.query_rows("SELECT 1 WHERE 0")] == []
    with pytest.raises(virke.Denied):
        db.query_rows("DELETE FROM item")
    with pytest.raises(virke.SqlError, match="no such table"):
        db.query_rows("SELECT * FROM missing")
    with pytest.raises(virke.SqlError, match="integer overflow"):
        [
            *db.query_rows(
                "SELECT abs(i - 9223372036854775807 - 4) FROM (SELECT 1 AS i UNION ALL SELECT 2 UNION ALL SELECT 3)"
            )
        ]
    assert db.query("SELECT 1").rows == [(1,)]


def test_a_read_is_ended_by_another_thread(db: virke.Database) -> None:
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
    cancel = virke.Cancel()
    threading.Timer(0.2, cancel.cancel).start()
    with pytest.raises(virke.TimedOut, match="cancelled"):
        db.query(endless, cancel=cancel)
    cancel = virke.Cancel()
    with db.query_rows(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n", cancel=cancel
    ) as rows:
        next(rows)
        cancel.cancel()
        with pytest.raises(virke.TimedOut, match="cancelled"):
            deque(rows, maxlen=0)
    with pytest.raises(virke.TimedOut):
        db.query(endless, timeout_ms=100)


def test_a_transaction_sees_itself_and_is_all_or_nothing(db: virke.Database) -> None:
    with db.transaction() as tx:
        assert (tx.read_only, tx.is_over, tx.version) == (False, False, db.version)
        assert tx.query("SELECT count(*) FROM item").rows == [(0,)]
        assert tx.execute("INSERT INTO item (name) VALUES (?)", ["tea"]) == 1
        assert tx.executemany("INSERT INTO item (name) VALUES (?)", [["a"], ["b"]]) == 2
        assert tx.run_script("SELECT 1; SELECT count(*) FROM item").rows == [(3,)]
        assert [
            one.rows for one in tx.run_steps((Step("SELECT ?", (1,)), Step("SELECT 2; SELECT 3", is_script=True)))
        ] == [
            [(1,)],
            [(3,)],
        ]
        assert [one.rows for one in tx.batch(["SELECT 1", ("SELECT ?", [b"x"])])] == [[(1,)], [(b"x",)]]
        assert tx.describe("SELECT id FROM item").columns[0].decltype == "INTEGER"
        with pytest.raises(virke.SqlError, match="UNIQUE") as raised:
            tx.batch(["DELETE FROM item", "INSERT INTO item (name) VALUES ('x'), ('x')"])
        assert raised.value.sqlite_code == "SQLITE_CONSTRAINT_UNIQUE"
        assert tx.query("SELECT count(*) FROM item").rows == [(3,)]
        with pytest.raises(virke.Invalid, match="a transaction is open here"):
            db.execute("DELETE FROM item")
    assert (tx.is_over, tx.version) == (True, db.version)
    with pytest.raises(virke.Invalid, match="the transaction is over"):
        tx.query("SELECT 1")

    with suppress(ZeroDivisionError), db.transaction(immediate=True) as tx:
        tx.execute("DELETE FROM item")
        print(1 // 0)
    with db.transaction(read_only=True) as tx:
        with pytest.raises(virke.Denied):
            tx.execute("DELETE FROM item")
        assert tx.query("SELECT count(*) FROM item").rows == [(3,)]
    with pytest.raises(virke.Invalid):
        db.transaction(read_only=True, immediate=True)
    assert db.run_transaction(lambda tx: tx.execute("DELETE FROM item")) == 3


def test_a_transaction_begins_anew_with_its_first_write(where: str, db: virke.Database) -> None:
    """Unless it has read: then it is a race that it lost."""
    with virke.connect(db.name, where) as other, db.transaction() as tx:
        before = tx.version
        other.execute("INSERT INTO item (price) VALUES (1)")
        tx.execute("INSERT INTO item (price) VALUES (2)")
        assert tx.version == before + 1
    assert (tx.version, db.query("SELECT count(*) FROM item").rows) == (before + 2, [(2,)])
    with virke.connect(db.name, where) as other:
        tx = db.transaction()
        tx.query("SELECT count(*) FROM item")
        other.execute("INSERT INTO item (price) VALUES (3)")
        with pytest.raises(virke.Conflict):
            write_and_commit(tx)
        tx.rollback()


def write_and_commit(tx: virke.Transaction) -> None:
    """The first of both shows that another commit came first, or the second."""
    tx.execute("INSERT INTO item (price) VALUES (4)")
    tx.commit()


def test_a_transaction_with_a_key_is_done_once(db: virke.Database) -> None:
    versions = []
    for _ in range(2):
        with db.transaction(idempotency_key="order-17") as tx:
            tx.execute("INSERT INTO item (price) VALUES (1)")
        versions.append(tx.version)
    assert db.query("SELECT count(*) FROM item").rows == [(1,)]
    assert versions[0] == db.version


def test_a_write_with_a_key_is_done_once(db: virke.Database) -> None:
    for _ in range(2):
        made = db.run("INSERT INTO item (name) VALUES ('tea') RETURNING id", idempotency_key="k")
        assert (made.rows, made.rows_affected, made.last_insert_rowid) == ([(1,)], 1, 1)
    with pytest.raises(virke.Invalid, match="idempotency key"):
        db.execute("INSERT INTO item (name) VALUES ('jam')", idempotency_key="k")
    assert db.query("SELECT count(*) FROM item WHERE name = 'tea'").rows == [(1,)]


@pytest.mark.parametrize("key", ["ä", "a\r\nX-Other: 1"])
def test_a_key_that_can_be_no_header_is_refused(remote: virke.Database, key: str) -> None:
    with pytest.raises(virke.Invalid, match="printable ASCII"):
        remote.execute("INSERT INTO item (price) VALUES (1)", idempotency_key=key)
    assert remote.query("SELECT count(*) FROM item").rows == [(0,)]


def test_a_pragma_belongs_to_the_object(where: str, db: virke.Database) -> None:
    """And holds for its transactions, but for no other object."""
    db.run_script("CREATE TABLE parent (id INTEGER PRIMARY KEY); CREATE TABLE child (p REFERENCES parent (id))")
    with virke.connect(db.name, where) as other:
        assert db.foreign_keys
        db.execute("PRAGMA foreign_keys = OFF")
        assert db.query("PRAGMA foreign_keys").rows == [(0,)]
        db.execute("INSERT INTO child VALUES (1)")
        db.run_script("INSERT INTO child VALUES (2); SELECT 1")
        with db.transaction() as tx:
            tx.execute("INSERT INTO child VALUES (3)")
        for write in (other.execute, other.query):
            with pytest.raises(virke.SqlError, match="FOREIGN KEY"):
                write("INSERT INTO child VALUES (4)")
        db.query("PRAGMA foreign_keys = ON")
        with pytest.raises(virke.SqlError, match="FOREIGN KEY"):
            db.execute("INSERT INTO child VALUES (5)")
    assert db.query("SELECT count(*) FROM child").rows == [(3,)]


def test_state_and_care_have_the_same_classes(db: virke.Database) -> None:
    assert db.schema() == [virke.SchemaEntry("table", "item", "item", TABLE)]
    with pytest.raises(virke.NotFound, match="no table or view 'x'"):
        db.schema("x")
    settings = db.change_settings({"history_days": "3", "max_attempts": 9})
    assert (settings.history_days, db.settings(), db.known_settings.max_attempts) == (3, settings, 9)
    with pytest.raises(virke.Invalid, match="unknown setting 'colour'"):
        db.change_settings({"colour": "red"})
    found = db.status()
    assert db.status(history=False).version == found.version
    assert (type(found), found.name, found.version, found.history_days) == (virke.Status, db.name, db.version, 3)
    assert all(isinstance(getattr(found, one.name), int | str | tuple | None) for one in fields(found))
    assert (found.gc_objects, found.gc_bytes, found.gc_later_bytes) == (0, 0, found.history_bytes)
    assert found.growth_bytes_per_day == found.stored_bytes
    assert db.flush() == virke.Flushed(0, 0, db.version)
    assert db.upkeep(None) == virke.Upkept(0, ())
    assert db.collect(dry_run=True, grace_ms=0) == virke.Collected((), 0, 0, 0, True)
    db.change_settings({"durability": "deferred"})
    db.execute("INSERT INTO item (price) VALUES (1)")
    assert db.flush().version == db.version
    assert db.promote().tier == "object"
    assert type(db.describe("SELECT :a")) is virke.Description
    assert db.describe("SELECT :a").parameter_names == ("a",)


def test_files_go_in_and_come_out(db: virke.Database, tmp_path: Path) -> None:
    (tmp_path / "in.sql").write_text("CREATE TABLE t (x); INSERT INTO t VALUES (1), (2);")
    done = import_file(db, tmp_path / "in.sql")
    assert (done.kind, done.rows, done.version, done.bytes) == ("sql", 2, db.version, 50)
    assert db.query("SELECT count(*) FROM t").rows == [(2,)]
    (tmp_path / "rows.csv").write_text("x\n" + "".join(f"{n}\n" for n in range(1000)))
    with pytest.raises(virke.Invalid, match=r"rows\.csv is a CSV file: say which table"):
        import_file(db, tmp_path / "rows.csv")
    assert import_file(db, tmp_path / "rows.csv", table="t").rows == 1000
    assert export_file(db, tmp_path / "out.csv", table="t").bytes == (tmp_path / "out.csv").stat().st_size
    with pytest.raises(virke.Exists):
        export_file(db, tmp_path / "out.csv", table="t")
    with pytest.raises(virke.NotFound):
        export_file(db, tmp_path / "no.csv", table="missing")
    assert not (tmp_path / "no.csv").exists()
    with pytest.raises(virke.NotFound, match="no such file"):
        import_file(db, tmp_path / "missing.sql")


def test_an_import_that_ends_on_its_way_to_a_node_changes_nothing_and_says_so(
    remote: virke.Database, tmp_path: Path
) -> None:
    """The node has not got the end of the file, and imports none of it."""
    (tmp_path / "rows.csv").write_bytes(b"name\n" + b"x\n" * 1_000_000)

    def progress(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught:
        import_file(remote, tmp_path / "rows.csv", table="item", progress=progress)
    assert caught.value.__notes__[0].startswith("nothing of rows.csv was imported")
    assert remote.query("SELECT count(*) FROM item").rows == [(0,)]


def test_a_large_file_that_is_refused_at_its_beginning_is_an_error_at_once(
    remote: virke.Database, tmp_path: Path
) -> None:
    (tmp_path / "rows.csv").write_bytes(b"a,b\n" + b"1,2\n" * 5_000_000)
    with pytest.raises(virke.Invalid, match="say which table"):
        import_file(remote, tmp_path / "rows.csv")
    assert remote.query("SELECT 1").rows == [(1,)]


def test_migrations_run_where_the_database_is(db: virke.Database, tmp_path: Path) -> None:
    (tmp_path / "001_a.sql").write_text("CREATE TABLE a (x);")
    (tmp_path / "002_b.sql").write_text("CREATE TABLE b (x);")
    told: list[int] = []
    before = db.version
    assert [one.number for one in migrate(db, tmp_path, dry_run=True, report=lambda one: told.append(one.number))] == [
        1,
        2,
    ]
    assert (told, db.version) == ([1, 2], before)
    assert [one.number for one in migrate(db, tmp_path)] == [1, 2]
    assert (db.version, [one.undo for one in status(db, tmp_path)]) == (before + 2, ["automatic"] * 2)
    assert [one.number for one in undo(db, tmp_path)] == [2]
    (tmp_path / "003_c.sql").write_text("CREATE TABLE c (x); SELECT * FROM missing;")
    told.clear()
    with pytest.raises(virke.SqlError) as raised:
        migrate(db, tmp_path, report=lambda one: told.append(one.number))
    assert (told, raised.value.context["applied"], raised.value.context["file"]) == ([2], ["002_b.sql"], "003_c.sql")


def test_names_and_existence(where: str, name: str) -> None:
    with pytest.raises(virke.NotFound, match=f"database '{name}' does not exist"):
        virke.connect(name, where)
    with pytest.raises(virke.Invalid, match="invalid database name"):
        virke.connect("a/b", where, create=True)
    virke.create(name, where, page_size=1024).close()
    with pytest.raises(virke.Exists):
        virke.create(name, where)
    with virke.create(name, where, if_not_exists=True) as database:
        assert database.status().page_size == 1024
    assert name in virke.list_databases(where)
    virke.delete(name, where)
    with pytest.raises(virke.NotFound):
        virke.delete(name, where)
    assert name not in virke.list_databases(where)


def test_a_connection_that_only_reads_never_writes(where: str, db: virke.Database) -> None:
    with virke.connect(db.name, where, read_only=True) as reading:
        assert reading.query("SELECT 1").rows == [(1,)]
        for write in (reading.execute, reading.query, reading.run_script, reading.run):
            with pytest.raises(virke.Denied):
                write("INSERT INTO item (name) VALUES ('x')")
        with reading.transaction() as tx, pytest.raises(virke.Denied):
            tx.execute("DELETE FROM item")
    with pytest.raises(virke.Denied):
        db.query("DELETE FROM item", read_only=True)


def test_what_an_embedded_database_alone_can_do_says_so(remote: virke.Database, served: Node) -> None:
    for call in (remote.snapshot, remote.long_write):
        with pytest.raises(virke.Invalid, match="hands out no pages"):
            call()
    with pytest.raises(virke.NotHere):
        remote.query_here("SELECT 1")
    assert (remote.on_connect, remote.upkeep_due) == (None, ())
    with pytest.raises(virke.UsageError, match="on_connect"):
        virke.connect(remote.name, served.url, on_connect=lambda made: None)
    with pytest.raises(virke.UsageError, match="a token is for a node"):
        virke.connect(remote.name, "memory://x", token="vk_x")
    remote.close()
    with pytest.raises(virke.Invalid, match="is closed"):
        remote.query("SELECT 1")


def test_asyncio_has_the_same_calls(where: str, name: str) -> None:
    async def main() -> list[object]:
        async with await aio.connect(name, where, create=True) as db:
            await db.execute(TABLE)
            await asyncio.gather(*(db.execute("INSERT INTO item (id) VALUES (?)", [n]) for n in range(20)))
            async with db.transaction() as tx:
                await tx.execute("DELETE FROM item WHERE id >= ?", [3])
                with pytest.raises(virke.Invalid, match="a transaction is open here"):
                    await db.execute("DELETE FROM item")
            return [n async for (n,) in db.query_rows("SELECT id FROM item ORDER BY id")]

    assert asyncio.run(main()) == [0, 1, 2]
