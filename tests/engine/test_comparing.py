"""What differs between two versions: the schema, and the rows of each table, whatever the table is."""

from __future__ import annotations

import random
import tracemalloc

import pytest

from tests.engine.world import Clock, make
from virke.core.collect import DAY_MS
from virke.engine.database import Database
from virke.engine.results import TableDiff
from virke.errors import Invalid, NotFound, TimedOut
from virke.stores.base import Call, Store
from virke.stores.counted import Tally, counting_store
from virke.stores.memory import memory_store


def after(setup: str, change: str) -> tuple[list[tuple[str, str, str]], list[TableDiff]]:
    """What `change` changes: of the schema change, type and name; of the rows."""
    database = make()
    database.run_script(setup)
    version = database.version
    database.run_script(change)
    found = database.diff(version)
    assert (found.version_before, found.version_after) == (version, database.version)
    back = database.diff(database.version, version)
    assert [(one.sql_after, one.sql_before) for one in back.objects if one.change == "changed"] == [
        (one.sql_before, one.sql_after) for one in found.objects if one.change == "changed"
    ]
    assert [
        (one.name, one.rows_after, one.rows_before, one.removed, one.added, one.changed) for one in back.tables
    ] == [(one.name, one.rows_before, one.rows_after, one.added, one.removed, one.changed) for one in found.tables], (
        "seen from the other side it is the same"
    )
    return [(one.change, one.type, one.name) for one in found.objects], list(found.tables)


T = "CREATE TABLE t (a INTEGER PRIMARY KEY, b); INSERT INTO t VALUES (1, 'x'), (2, 'y'), (3, 'z');"


@pytest.mark.parametrize(
    ("setup", "change", "objects", "tables"),
    [
        (T, "DELETE FROM t WHERE a = 2", [], [("t", 3, 2, 0, 1, 0)]),
        (T, "INSERT INTO t VALUES (0, NULL), (9, NULL); UPDATE t SET b = 1 WHERE a = 1", [], [("t", 3, 5, 2, 0, 1)]),
        (T, "DELETE FROM t", [], [("t", 3, 0, 0, 3, 0)]),
        (T, "UPDATE t SET b = b; REINDEX", [], []),
        (T, "UPDATE t SET b = 1; UPDATE t SET b = 1.0", [], [("t", 3, 3, 0, 0, 3)]),
        (T + "UPDATE t SET b = 1", "UPDATE t SET b = 1.0", [], [("t", 3, 3, 0, 0, 3)]),
        (T, "DROP TABLE t", [("removed", "table", "t")], [("t", 3, None, 0, 3, 0)]),
        (
            T,
            "ALTER TABLE t RENAME TO u",
            [("removed", "table", "t"), ("added", "table", "u")],
            [("t", 3, None, 0, 3, 0), ("u", None, 3, 3, 0, 0)],
        ),
        (T, "DROP TABLE t;" + T, [], []),
        (T, "DROP TABLE t;" + T.replace("'z'", "'w'"), [], [("t", 3, 3, 0, 0, 1)]),
        (T, "ALTER TABLE t ADD COLUMN c DEFAULT 7", [("changed", "table", "t")], []),
        (T, "ALTER TABLE t DROP COLUMN b", [("changed", "table", "t")], []),
        (
            T,
            "DROP TABLE t; CREATE TABLE t (b TEXT PRIMARY KEY) WITHOUT ROWID; INSERT INTO t VALUES ('x')",
            [("changed", "table", "t")],
            [("t", 3, 1, None, None, None)],
        ),
        (
            T,
            "CREATE INDEX i ON t (b); CREATE VIEW v AS SELECT 1; CREATE TRIGGER r AFTER DELETE ON t BEGIN SELECT 1; END",
            [("added", "index", "i"), ("added", "view", "v"), ("added", "trigger", "r")],
            [],
        ),
        (
            "CREATE TABLE w (a TEXT, b, c, PRIMARY KEY (b, a)) WITHOUT ROWID; CREATE INDEX i ON w (c, a, b);"
            "INSERT INTO w VALUES ('a', 2, 1), ('é', 1, 9), ('z', 1, 5), ('b', x'00', 3), ('c', 1.5, 4);",
            "DELETE FROM w WHERE a = 'z'; UPDATE w SET c = 0 WHERE a = 'b'; INSERT INTO w VALUES ('n', 1, 1)",
            [],
            [("w", 5, 5, 1, 1, 1)],
        ),
        (
            "CREATE TABLE w (a TEXT COLLATE NOCASE PRIMARY KEY, b) WITHOUT ROWID;"
            "INSERT INTO w VALUES ('a', 1), ('B', 2), ('c', 3);",
            "UPDATE w SET b = 9 WHERE a = 'b'",
            [],
            [("w", 3, 3, None, None, None)],
        ),
        (
            "CREATE TABLE w (a INTEGER, PRIMARY KEY (a DESC)) WITHOUT ROWID; INSERT INTO w VALUES (1), (2), (3);",
            "INSERT INTO w VALUES (4)",
            [],
            [("w", 3, 4, None, None, None)],
        ),
        (
            "CREATE TABLE s (rowid, _rowid_, oid); INSERT INTO s VALUES (3, 1, 1), (1, 1, 2);",
            "UPDATE s SET oid = 4 WHERE rowid = 1",
            [],
            [("s", 2, 2, None, None, None)],
        ),
        (
            'CREATE TABLE "a ""b" (rowid, "x y", g AS (rowid + 1)); INSERT INTO "a ""b" VALUES (1, 2), (0, 3);',
            'UPDATE "a ""b" SET "x y" = 4 WHERE rowid = 1',
            [],
            [('a "b', 2, 2, 0, 0, 1)],
        ),
        (
            "CREATE VIRTUAL TABLE f USING fts5(body); CREATE VIRTUAL TABLE f_g USING fts5(body); CREATE TABLE f_own (a);"
            "INSERT INTO f VALUES ('one'); INSERT INTO f_g VALUES ('one');",
            "INSERT INTO f_g VALUES ('two')",
            [],
            [("f_g", 1, 2, None, None, None)],
        ),
        (
            "CREATE VIRTUAL TABLE f USING fts5(body); INSERT INTO f VALUES ('one');",
            "DROP TABLE f; CREATE VIRTUAL TABLE r USING rtree(id, a, b)",
            [("removed", "table", "f"), ("added", "table", "r")],
            [("f", 1, None, 0, 1, 0), ("r", None, 0, 0, 0, 0)],
        ),
        (
            "CREATE TABLE t (a INTEGER PRIMARY KEY AUTOINCREMENT); INSERT INTO t VALUES (5);",
            "INSERT INTO t VALUES (6); DELETE FROM t WHERE a = 6; ANALYZE",
            [],
            [],
        ),
        (
            "CREATE TABLE t (a); INSERT INTO t VALUES (CAST(x'ff41' AS TEXT)), (CAST(x'41' AS TEXT));",
            "UPDATE t SET a = CAST(x'ff42' AS TEXT) WHERE rowid = 1",
            [],
            [("t", 2, 2, 0, 0, 1)],
        ),
    ],
)
def test_a_difference_names_what_was_added_removed_and_changed(
    setup: str, change: str, objects: list[object], tables: list[object]
) -> None:
    found = after(setup, change)
    rows = [(one.name, one.rows_before, one.rows_after, one.added, one.removed, one.changed) for one in found[1]]
    assert (sorted(found[0]), rows) == (sorted(objects), tables)  # type: ignore[type-var]


@pytest.mark.parametrize("size", [5_000, 300_000])
def test_a_long_text_that_changes_in_place_is_a_changed_row(size: int) -> None:
    """Only an overflow page is written: the leaf that begins the row stays as it is."""
    database = make()
    database.execute("CREATE TABLE t (a INTEGER PRIMARY KEY, b)")
    database.execute("INSERT INTO t VALUES (1, zeroblob(?)), (2, 'x')", (size,))
    version = database.version
    database.execute("UPDATE t SET b = substr(b, 1, length(b) - 1) || x'01' WHERE a = 1")
    assert database.diff(version).tables == (TableDiff("t", 2, 2, 0, 0, 1),)


def test_differences_of_random_histories_are_those_of_their_rows() -> None:
    seed = random.randrange(1 << 32)
    print("seed", seed)
    random_ = random.Random(seed)
    database = make()
    database.execute("CREATE TABLE t (a INTEGER PRIMARY KEY, b)")
    states = {database.version: dict[int, str]()}
    for _ in range(30):
        state = dict(states[database.version])
        for _ in range(random_.randrange(1, 4)):
            key, value = random_.randrange(40), random_.choice("xyz") * random_.choice((1, 900, 9000))
            if random_.random() < 0.3:
                state.pop(key, None)
            else:
                state[key] = value
        with database.transaction() as tx:
            tx.execute("DELETE FROM t")
            for row in state.items():
                tx.execute("INSERT INTO t VALUES (?, ?)", row)
        states[database.version] = state
    for _ in range(40):
        a, b = random_.choice(list(states)), random_.choice(list(states))
        old, new = states[a], states[b]
        changed = sum(old[key] != new[key] for key in old.keys() & new.keys())
        counts = (len(new.keys() - old.keys()), len(old.keys() - new.keys()), changed)
        expected = (TableDiff("t", len(old), len(new), *counts),) if any(counts) else ()
        assert database.diff(a, b).tables == expected, seed


def test_a_restored_version_does_not_differ_from_the_one_it_brought_back() -> None:
    database = make()
    database.run_script(T)
    version = database.version
    database.execute("DELETE FROM t", idempotency_key="once")
    assert database.diff(version).tables == (TableDiff("t", 3, 0, 0, 3, 0),)
    database.restore(version)
    found = database.diff(version)
    assert (found.objects, found.tables) == ((), ()), "answers of keyed requests are Virke's own"
    assert database.diff(version + 1).tables == (TableDiff("t", 0, 3, 3, 0, 0),)


def test_an_empty_database_and_times_can_be_compared() -> None:
    database = make(clock=Clock(tick_ms=1000))
    assert database.diff(1).objects == ()
    database.run_script(T)
    assert [one.name for one in database.diff(1, "0s").objects] == ["t"]
    assert [one.change for one in database.diff(2, 1).objects] == ["removed"]
    for a, b in (("noon", None), (1, "noon")):
        with pytest.raises(Invalid):
            database.diff(a, b)
    with pytest.raises(NotFound):
        database.diff(99)


def collected(database: Database, clock: Clock) -> None:
    clock.pass_s(30 * DAY_MS / 1000)
    database.collect(grace_ms=0)
    database.collect(grace_ms=0)


def history(clock: Clock, store: Store) -> Database:
    database = make(store, clock=clock)
    database.execute("CREATE TABLE t (a INTEGER PRIMARY KEY, b)")
    for _ in range(60):
        database.execute("INSERT INTO t (b) VALUES (randomblob(9000))")
    database.upkeep(None)
    return database


def test_p8_what_was_collected_is_not_found_and_the_hint_says_what_is_there() -> None:
    clock = Clock(tick_ms=1000)
    database = history(clock, memory_store())
    assert database.diff(9).tables[0].rows_before == 7
    collected(database, clock)
    for a, b in ((9, None), (database.version, 9), ("31d", None)):
        with pytest.raises(NotFound) as caught:
            database.diff(a, b)
        assert "history_days" in str(caught.value.context["hint"])


def test_p8_a_state_that_is_collected_while_it_is_compared_is_not_found() -> None:
    """The sweep comes between the look at history and the pages: an error that says why, and no difference that is none."""
    clock, store = Clock(tick_ms=1000), memory_store()
    owner = history(clock, store)
    calls: list[Call] = []

    def sweep(call: Call, tally: Tally) -> None:
        calls.append(call)
        if len(calls) == 4:
            collected(owner, clock)

    database = Database(counting_store(store, sweep), "db", environment=clock.environment)
    with pytest.raises(NotFound) as caught:
        database.diff(9)
    assert len(calls) > 4
    assert "history_days" in str(caught.value.context["hint"])


@pytest.mark.native
def test_memory_does_not_grow_with_the_tables() -> None:
    """Twenty times the rows are compared within about the same memory of Python's."""
    peaks = list[int]()
    for rows in (500, 10_000):
        database = make()
        database.execute("CREATE TABLE t (a INTEGER PRIMARY KEY, b)")
        database.execute(
            "INSERT INTO t SELECT value, hex(randomblob(100)) FROM generate_series(1, ?)",
            (rows,),
        )
        version = database.version
        database.execute("UPDATE t SET b = upper(b) || 'x'")
        database.diff(version)
        tracemalloc.start()
        try:
            assert database.diff(version).tables == (TableDiff("t", rows, rows, 0, 0, rows),)
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
    print(peaks)
    assert peaks[1] < 10_000 * 200 / 2


def test_a_server_compares_within_the_time_of_a_request() -> None:
    database = make()
    database.run_script("CREATE TABLE t (a); INSERT INTO t SELECT value FROM generate_series(1, 20000)")
    version = database.version
    database.execute("UPDATE t SET a = -a")
    assert database.serving.diff(version, None).tables[0].changed == 20_000
    with pytest.raises(TimedOut):
        database._parts.diff(version, None, timeout_s=0.0)
