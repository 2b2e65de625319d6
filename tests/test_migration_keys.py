"""Foreign keys in migrations: files that switch them off run whole with keys off, and break none that held before."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.test_migrations import write
from virke.errors import SqlError
from virke.migrations import migrate, undo
from virke.migrations.keys import wish_of
from virke.opening import create
from virke.stores.memory import memory_store

if TYPE_CHECKING:
    from virke.engine.database import Database

OWNERS = """CREATE TABLE owner (id INTEGER PRIMARY KEY, name TEXT);
CREATE TABLE pet (id INTEGER PRIMARY KEY, owner_id INTEGER REFERENCES owner (id) ON DELETE CASCADE);
INSERT INTO owner VALUES (1, 'Ann'), (2, 'Bo');
INSERT INTO pet VALUES (10, 1), (11, 2);
"""
DRIZZLE = """PRAGMA foreign_keys=OFF;--> statement-breakpoint
CREATE TABLE `__new_owner` (
\t`id` integer PRIMARY KEY NOT NULL,
\t`name` text NOT NULL
);
--> statement-breakpoint
INSERT INTO `__new_owner`("id", "name") SELECT "id", "name" FROM `owner`;--> statement-breakpoint
DROP TABLE `owner`;--> statement-breakpoint
ALTER TABLE `__new_owner` RENAME TO `owner`;--> statement-breakpoint
PRAGMA foreign_keys=ON;--> statement-breakpoint
CREATE UNIQUE INDEX `owner_name_unique` ON `owner` (`name`);
"""
PRISMA = """-- CreateTable
CREATE TABLE "Visit" ("id" INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, "petId" INTEGER NOT NULL);

-- RedefineTables
PRAGMA defer_foreign_keys=ON;
PRAGMA foreign_keys=OFF;
CREATE TABLE "new_owner" (
    "id" INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    "name" TEXT NOT NULL DEFAULT 'nameless'
);
INSERT INTO "new_owner" ("id", "name") SELECT "id", coalesce("name", 'nameless') AS "name" FROM "owner";
DROP TABLE "owner";
ALTER TABLE "new_owner" RENAME TO "owner";
PRAGMA foreign_keys=ON;
PRAGMA defer_foreign_keys=OFF;
"""
REBUILDS = {
    "drizzle": DRIZZLE,
    "prisma": PRISMA,
    "prisma before 5.16": PRISMA.replace("PRAGMA defer_foreign_keys=ON;\n", ""),
}
ORPHANING = "PRAGMA foreign_keys = OFF;\nDELETE FROM owner WHERE id = 2;\n"


@pytest.fixture
def database() -> Iterator[Database]:
    with create("app", memory_store()) as database:
        yield database


@pytest.fixture(params=["on", "off"])
def keys(request: pytest.FixtureRequest, database: Database) -> bool:
    """What the caller has set."""
    database.execute(f"PRAGMA foreign_keys = {request.param}")
    return bool(request.param == "on")


def value_of(database: Database) -> bool:
    """What the next transaction of the caller has."""
    with database.transaction() as transaction:
        return bool(transaction.query("PRAGMA foreign_keys").rows[0][0])


def pets(database: Database) -> list[tuple[object, ...]]:
    """All rows of the children."""
    return [tuple(row) for row in database.query("SELECT id, owner_id FROM pet ORDER BY id").rows]


# What a file asks for


@pytest.mark.parametrize(
    ("sql", "value"),
    [
        ("PRAGMA foreign_keys=OFF", False),
        ("pragma Foreign_Keys = off;", False),
        ("PRAGMA foreign_keys(0)", False),
        ("PRAGMA foreign_keys (false);", False),
        ("PRAGMA foreign_keys = 'no';", False),
        ('PRAGMA "foreign_keys" = "OFF";', False),
        ("PRAGMA `foreign_keys` = [off];", False),
        ("PRAGMA main.foreign_keys = OFF;", False),
        ("/* a */ PRAGMA -- b\n foreign_keys /* c */ = /* ON */ OFF;", False),
        ("PRAGMA foreign_keys = -1;", False),
        ("PRAGMA foreign_keys = nonsense;", False),
        ("SELECT 1; PRAGMA foreign_keys = ON; SELECT 2; PRAGMA foreign_keys = OFF; PRAGMA foreign_keys = ON;", False),
        ("PRAGMA foreign_keys=OFF;--> statement-breakpoint\nSELECT 1;", False),
        ("PRAGMA foreign_keys = ON;", True),
        ("PRAGMA foreign_keys = 1;", True),
        ("PRAGMA foreign_keys;", None),
        ("PRAGMA foreign_keys = ;", None),
        ("PRAGMA elsewhere.foreign_keys = OFF;", None),
        ("PRAGMA foreign_key_list(foreign_keys);", None),
        ("-- PRAGMA foreign_keys=OFF;\nSELECT 1;", None),
        ("/* PRAGMA foreign_keys=OFF; */ SELECT 1;", None),
        ("INSERT INTO t VALUES ('PRAGMA foreign_keys=OFF;');", None),
        ("INSERT INTO t VALUES ('a;\nPRAGMA foreign_keys=OFF;\n');", None),
        ("CREATE TABLE PRAGMA_foreign_keys (off);", None),
        ("PRAGMA defer_foreign_keys = ON;", None),
        ("", None),
    ],
)
def test_a_file_asks_for_what_sqlite_would_do_with_it(sql: str, value: bool | None) -> None:
    assert wish_of(sql).foreign_keys is value


@pytest.mark.parametrize(
    ("sql", "defers"),
    [
        ("PRAGMA defer_foreign_keys = ON;", True),
        ("SELECT 1; PRAGMA main.Defer_Foreign_Keys = OFF;", True),
        ("PRAGMA foreign_keys = OFF;", False),
        ("PRAGMA cache_size = 9; INSERT INTO t VALUES ('defer_foreign_keys');", False),
    ],
)
def test_a_file_puts_checks_off_only_by_the_pragma_for_it(sql: str, defers: bool) -> None:
    assert wish_of(sql).defers is defers


# Rebuilding a table that others refer to


@pytest.mark.parametrize("kind", REBUILDS)
def test_a_rebuild_with_keys_off_keeps_the_rows_that_refer_to_the_table(
    database: Database, tmp_path: Path, keys: bool, kind: str
) -> None:
    migrate(database, write(tmp_path, **{"001_a": OWNERS, "002_b": REBUILDS[kind]}))
    assert pets(database) == [(10, 1), (11, 2)]
    assert database.query("SELECT id, name FROM owner").rows == [(1, "Ann"), (2, "Bo")]
    assert value_of(database) == keys


def test_on_later_in_a_file_does_not_switch_keys_on_again(database: Database, tmp_path: Path) -> None:
    database.execute("PRAGMA foreign_keys = ON")
    sql = "PRAGMA foreign_keys = OFF; PRAGMA foreign_keys = ON; DROP TABLE owner;"
    back = "CREATE TABLE owner (id INTEGER PRIMARY KEY, name TEXT); INSERT INTO owner (id) VALUES (1), (2);"
    migrate(database, write(tmp_path, **{"001_a": OWNERS, "002_b": sql + back}))
    assert pets(database) == [(10, 1), (11, 2)]


def test_a_file_that_says_nothing_runs_with_the_callers_value(database: Database, tmp_path: Path, keys: bool) -> None:
    migrate(database, write(tmp_path, **{"001_a": OWNERS, "002_b": "DELETE FROM owner WHERE id = 2;"}))
    assert pets(database) == ([(10, 1)] if keys else [(10, 1), (11, 2)])
    assert value_of(database) == keys


def test_each_file_has_its_own_value(database: Database, tmp_path: Path) -> None:
    database.execute("PRAGMA foreign_keys = ON")
    migrate(database, write(tmp_path, **{"001_a": OWNERS, "002_b": DRIZZLE, "003_c": "DELETE FROM owner WHERE id = 2"}))
    assert pets(database) == [(10, 1)]


def test_a_file_that_asks_for_keys_has_them(database: Database, tmp_path: Path) -> None:
    database.execute("PRAGMA foreign_keys = OFF")
    migrate(database, write(tmp_path, **{"001_a": OWNERS, "002_b": "PRAGMA foreign_keys = ON; DELETE FROM owner;"}))
    assert pets(database) == []
    assert not value_of(database)


def test_an_undo_file_that_switches_keys_off_runs_with_keys_off(database: Database, tmp_path: Path, keys: bool) -> None:
    migrate(
        database, write(tmp_path, **{"001_a": OWNERS, "002_b": DRIZZLE, "002_b_undo_": DRIZZLE.split("CREATE UNI")[0]})
    )
    undo(database, tmp_path)
    assert pets(database) == [(10, 1), (11, 2)]
    assert value_of(database) == keys


# Violations


def test_a_file_with_keys_off_may_not_break_keys(database: Database, tmp_path: Path, keys: bool) -> None:
    folder = write(tmp_path, **{"001_a": OWNERS, "002_b": ORPHANING})
    with pytest.raises(SqlError, match=r"002_b\.sql: .*pet row 11 → owner") as caught:
        migrate(database, folder)
    assert (caught.value.sqlite_code, caught.value.context["file"]) == (
        "SQLITE_CONSTRAINT_FOREIGNKEY",
        "002_b.sql",
    )
    assert caught.value.context["applied"] == ["001_a.sql"]
    assert database.query("SELECT count(*) FROM owner").rows == [(2,)]
    assert database.query("SELECT max(number) FROM virke_migrations").rows == [(1,)]
    assert value_of(database) == keys


def test_violations_that_were_there_before_are_not_blamed_on_a_file(database: Database, tmp_path: Path) -> None:
    database.execute("PRAGMA foreign_keys = OFF")
    orphan = "INSERT INTO pet VALUES (12, 99);"
    migrate(database, write(tmp_path, **{"001_a": OWNERS + orphan, "002_b": DRIZZLE}))
    assert pets(database) == [(10, 1), (11, 2), (12, 99)]


def test_a_new_violation_is_not_hidden_by_an_old_one_that_went(database: Database, tmp_path: Path) -> None:
    """One orphan goes and another comes: as many as before, and not the same."""
    database.execute("PRAGMA foreign_keys = OFF")
    trade = "PRAGMA foreign_keys = OFF; DELETE FROM pet WHERE id = 12; INSERT INTO pet VALUES (13, 98);"
    folder = write(tmp_path, **{"001_a": OWNERS + "INSERT INTO pet VALUES (12, 99);", "002_b": trade})
    with pytest.raises(SqlError, match="pet row 13 → owner"):
        migrate(database, folder)


@pytest.mark.parametrize(("number", "more"), [(1, ""), (3, ""), (4, " and 1 more"), (1500, " and 1,497 more")])
def test_an_error_names_three_rows_and_counts_the_others(
    number: int, more: str, database: Database, tmp_path: Path
) -> None:
    orphans = f"""PRAGMA foreign_keys = OFF;
        WITH RECURSIVE n(i) AS (VALUES (0) UNION ALL SELECT i + 1 FROM n LIMIT {number})
        INSERT INTO pet SELECT 100000 + i, 99 FROM n;"""
    with pytest.raises(SqlError) as caught:
        migrate(database, write(tmp_path, **{"001_a": OWNERS, "002_b": orphans}))
    named = ", ".join(f"pet row {100000 + at} → owner" for at in range(min(number, 3)))
    assert caught.value.message == f"002_b.sql: foreign keys that hold now would be broken: {named}{more}"


def test_tables_without_rowid_have_violations_that_are_counted(database: Database, tmp_path: Path) -> None:
    """Their violations all look alike: only their number says that one is new."""
    database.execute("PRAGMA foreign_keys = OFF")
    table = "CREATE TABLE tag (name PRIMARY KEY, owner_id REFERENCES owner (id)) WITHOUT ROWID;"
    first = OWNERS + table + "INSERT INTO tag VALUES ('a', 99);"
    folder = write(tmp_path, **{"001_a": first, "002_b": "PRAGMA foreign_keys = 0; INSERT INTO tag VALUES ('b', 99);"})
    with pytest.raises(SqlError, match="tag → owner"):
        migrate(database, folder)


def test_a_key_that_can_not_be_checked_before_may_be_mended_and_not_be_made(database: Database, tmp_path: Path) -> None:
    """Where the parent has no unique index, SQLite refuses to check at all."""
    database.execute("PRAGMA foreign_keys = OFF")
    broken = (
        "CREATE TABLE a (x); CREATE TABLE b (y REFERENCES a (x)); INSERT INTO a VALUES (1); INSERT INTO b VALUES (1);"
    )
    mend = "PRAGMA foreign_keys = OFF; CREATE UNIQUE INDEX i ON a (x);"
    unmend = "PRAGMA foreign_keys = OFF; DROP INDEX i;"
    with pytest.raises(SqlError, match=r"003_c\.sql: .*mismatch") as caught:
        migrate(database, write(tmp_path, **{"001_a": broken, "002_b": mend, "003_c": unmend}))
    assert caught.value.message.count("mismatch") == 1
    assert database.query("SELECT max(number) FROM virke_migrations").rows == [(2,)]


def test_deferred_keys_that_are_switched_back_are_still_checked(database: Database, tmp_path: Path) -> None:
    """SQLite itself forgets what it put off when `defer_foreign_keys` is switched off before the end."""
    database.execute("PRAGMA foreign_keys = ON")
    sql = "PRAGMA defer_foreign_keys = ON; INSERT INTO pet VALUES (12, 99); PRAGMA defer_foreign_keys = OFF;"
    with pytest.raises(SqlError, match=r"002_b\.sql: .*pet row 12 → owner"):
        migrate(database, write(tmp_path, **{"001_a": OWNERS, "002_b": sql}))
    assert pets(database) == [(10, 1), (11, 2)]


def test_an_error_of_the_commit_names_the_file(database: Database, tmp_path: Path) -> None:
    database.execute("PRAGMA foreign_keys = ON")
    sql = "CREATE TABLE x (y REFERENCES owner (id) DEFERRABLE INITIALLY DEFERRED); INSERT INTO x VALUES (99);"
    with pytest.raises(SqlError, match=r"^002_b\.sql: FOREIGN KEY constraint failed$") as caught:
        migrate(database, write(tmp_path, **{"001_a": OWNERS, "002_b": sql}))
    assert caught.value.context["applied"] == ["001_a.sql"]


@pytest.mark.parametrize("dry_run", [False, True])
def test_the_callers_value_holds_again_after_a_failure(
    database: Database, tmp_path: Path, keys: bool, dry_run: bool
) -> None:
    folder = write(tmp_path, **{"001_a": OWNERS, "002_b": "PRAGMA foreign_keys = OFF;\nDROP TABLE nope;"})
    with pytest.raises(SqlError, match="nope"):
        migrate(database, folder, dry_run)
    assert value_of(database) == keys
