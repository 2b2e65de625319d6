"""Files that others published come in, and go out as they were."""

from __future__ import annotations

import csv
import json
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

import pytest

from tests.clients.real_files import ALL, DATABASE, FOLDER, OBJECTS, SCHEMA, TABLES, RealFile
from virke.engine.database import Database
from virke.opening import create
from virke.transfer import export_file, import_file

pytestmark = [
    pytest.mark.slow,
    pytest.mark.clients,
    pytest.mark.once,
    pytest.mark.skipif(
        not all((FOLDER / file.name).exists() for file in ALL),
        reason="real files are not here: python -m tests.clients.install",
    ),
]
LONG: Final = 100_000
"""Rows from which on one way out and in is enough."""


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Database]:
    with create("here", f"local:{tmp_path}/store") as database:
        yield database


@pytest.fixture
def there(tmp_path: Path) -> Iterator[Database]:
    with create("there", f"local:{tmp_path}/store") as database:
        yield database


def tables_of(image: Path) -> dict[str, Counter[object]]:
    """The schema and all rows of a SQLite file, in any order."""
    with closing(sqlite3.connect(image)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        # which statistics a build of SQLite keeps is its own choice: an empty table of them is nothing
        schema = connection.execute("SELECT type, name, sql FROM sqlite_schema WHERE name <> 'sqlite_stat4'").fetchall()
        names = [name for kind, name, _ in schema if kind == "table"]
        return {"": Counter(schema)} | {
            name: Counter(connection.execute(f'SELECT * FROM "{name}"').fetchall()) for name in names
        }


@pytest.mark.parametrize("way", [".sqlite", ".sql", ".sql.gz"])
def test_a_database_goes_out_as_it_came_in(here: Database, there: Database, tmp_path: Path, way: str) -> None:
    given, sent, found = FOLDER / DATABASE.name, tmp_path / f"sent{way}", tmp_path / "found.sqlite"
    import_file(here, given)
    export_file(here, sent)
    import_file(there, sent)
    export_file(there, found)
    assert tables_of(found) == tables_of(given)


def test_the_dump_of_the_standard_library_is_the_same_database(here: Database, tmp_path: Path) -> None:
    given, dump, found = FOLDER / DATABASE.name, tmp_path / "dump.sql", tmp_path / "found.sqlite"
    with closing(sqlite3.connect(given)) as connection, dump.open("w", encoding="utf-8") as out:
        out.writelines(f"{line}\n" for line in connection.iterdump())
    import_file(here, dump)
    export_file(here, found)
    assert tables_of(found) == tables_of(given)


def test_a_schema_makes_what_sqlite_makes_of_it(here: Database, tmp_path: Path) -> None:
    given, plain, found = FOLDER / SCHEMA.name, tmp_path / "plain.sqlite", tmp_path / "found.sqlite"
    with closing(sqlite3.connect(plain)) as connection:
        connection.executescript(given.read_text(encoding="utf-8"))
    import_file(here, given)
    export_file(here, found)
    assert tables_of(found) == tables_of(plain)


def same(told: str, given: str) -> bool:
    """Whether a cell is what it was, or the same number in other digits."""
    try:
        return told == given or float(told) == float(given)
    except ValueError:
        return False


@pytest.mark.parametrize("file", TABLES, ids=lambda file: file.name)
def test_each_cell_of_a_table_goes_out_as_it_came_in(
    here: Database, there: Database, tmp_path: Path, file: RealFile
) -> None:
    sent = tmp_path / "sent.csv"
    import_file(here, FOLDER / file.name, table="t")
    export_file(here, sent, table="t")
    with (FOLDER / file.name).open(newline="", encoding="utf-8") as one, sent.open(newline="", encoding="utf-8") as two:
        (head, *given), (_, *told) = csv.reader(one), csv.reader(two)
    assert len(told) == len(given)
    wrong = [(a, b) for a, b in zip(told, given, strict=True) if len(a) != len(head) or not all(map(same, a, b))]
    assert wrong == []
    for kind in ("csv",) if len(given) > LONG else ("csv", "ndjson", "sql"):
        again = tmp_path / f"again.{kind}.gz"
        export_file(here, again, table="t")
        there.execute("DROP TABLE IF EXISTS t")
        import_file(there, again, table=None if kind == "sql" else "t")
        assert list(there.query_rows("SELECT * FROM t")) == list(here.query_rows("SELECT * FROM t"))


@pytest.mark.parametrize("file", OBJECTS, ids=lambda file: file.name)
def test_objects_go_out_as_they_came_in(here: Database, there: Database, tmp_path: Path, file: RealFile) -> None:
    given = json.loads((FOLDER / file.name).read_text(encoding="utf-8"))
    sent = tmp_path / "sent.ndjson"
    import_file(here, FOLDER / file.name, table="t")
    export_file(here, sent, table="t")
    told = [json.loads(line) for line in sent.read_text(encoding="utf-8").splitlines()]
    objects = given if isinstance(given, list) else [given]
    nested = [{key: plain(value) for key, value in each.items()} for each in objects]
    assert told == nested
    import_file(there, sent, table="t")
    assert there.query("SELECT * FROM t").rows == here.query("SELECT * FROM t").rows


def plain(value: object) -> object:
    """What an array within an object comes in as: its JSON."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")) if isinstance(value, list) else value
