"""The SQL text of an export is what the sqlite3 shell prints, and gives the same database again."""

from __future__ import annotations

import io
import math
import os
import re
import sqlite3
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.transfer.conftest import content, needs_shell, shell_dump
from virke.engine.database import Database
from virke.engine.sqlite import Guard, Value, open_connection
from virke.errors import Exists, Invalid, NotFound
from virke.processes import try_lock
from virke.transfer import export_file, export_parts, import_file
from virke.transfer.dump import literal_of, quoted_name

Write = Callable[[str, str | bytes], Path]
_STRING_OR_REAL = re.compile(r"('(?:[^']|'')*')|(?<![\w.])(-?\d+\.\d+(?:e[+-]\d+)?)(?![\w.])")


def text_of(database: Database) -> str:
    stream = io.BytesIO()
    done = export_file(database, stream)
    assert done.bytes == len(stream.getvalue())
    return stream.getvalue().decode()


def shortest_reals(dump: str) -> str:
    """A dump of the shell with its REALs written with the fewest digits that mean the same."""
    return _STRING_OR_REAL.sub(lambda found: found[1] or literal_of(float(found[2])), dump)


@needs_shell
def test_the_zoo_looks_as_the_shell_prints_it(zoo: Path, database: Database) -> None:
    import_file(database, zoo)
    assert text_of(database) == shortest_reals(shell_dump(zoo))


@needs_shell
def test_chinook_looks_as_the_shell_prints_it(database: Database, write: Write, chinook: str, tmp_path: Path) -> None:
    import_file(database, write("chinook.sql", chinook))
    export_file(database, tmp_path / "chinook.sqlite")
    assert text_of(database) == shortest_reals(shell_dump(tmp_path / "chinook.sqlite"))


@needs_shell
def test_without_reals_it_is_the_shells_text_byte_for_byte(database: Database, tmp_path: Path) -> None:
    database.run_script("CREATE TABLE t(a, b); INSERT INTO t VALUES (1, 'é'), (2.0, 1e15), (x'00', char(13, 10, 39))")
    export_file(database, tmp_path / "x.sqlite")
    assert text_of(database) == shell_dump(tmp_path / "x.sqlite")


@needs_shell
@pytest.mark.parametrize("encoding", ["UTF-16le", "UTF-16be"])
def test_other_encodings_look_the_same(tmp_path: Path, database: Database, encoding: str) -> None:
    path = tmp_path / "x.sqlite"
    connection = sqlite3.connect(path)
    connection.executescript(f"PRAGMA encoding='{encoding}'; CREATE TABLE t(a); INSERT INTO t VALUES ('é😀')")
    connection.close()
    import_file(database, path)
    assert text_of(database) == shell_dump(path)


def test_an_empty_database_is_an_empty_transaction(database: Database) -> None:
    assert text_of(database) == "PRAGMA foreign_keys=OFF;\nBEGIN TRANSACTION;\nCOMMIT;\n"


def test_text_that_is_no_text_comes_back_byte_for_byte(database: Database, other: Database, write: Write) -> None:
    values = ["CAST(X'61ff' AS TEXT)", "'a' || char(0) || 'b'", "'\\0' || char(0, 10, 13)", "'plain'", "X'ff'", "1"]
    database.run_script(f"CREATE TABLE t(a); INSERT INTO t VALUES {','.join(f'({value})' for value in values)}")
    import_file(other, write("x.sql", text_of(database)))
    bits = "SELECT typeof(a), hex(a) FROM t"
    assert other.query(bits).rows == database.query(bits).rows


VALUES = st.none() | st.integers(-(1 << 63), (1 << 63) - 1) | st.floats(allow_nan=False) | st.binary()
TEXT = st.text(st.sampled_from("\n\r\0\\nr0'12(5) é") | st.characters(exclude_categories=["Cs"]))


@given(VALUES | TEXT)
def test_a_literal_means_exactly_its_value(value: int | float | bytes | str | None) -> None:
    connection = sqlite3.connect(":memory:")
    (found,) = connection.execute(f"SELECT {literal_of(value)}").fetchone()
    connection.close()
    assert type(found) is type(value)
    if isinstance(value, float) and isinstance(found, float):
        # An older SQLite reads some extreme numbers with the last bit wrong, from its own dump as well.
        assert found == value or math.isclose(found, value, rel_tol=1e-15)
    else:
        assert found == value


@given(st.lists(st.floats(allow_nan=False) | st.binary(min_size=8, max_size=8).map(lambda b: struct.unpack("d", b)[0])))
def test_virke_reads_every_real_back_exactly(numbers: list[float]) -> None:
    connection = open_connection(":memory:", vfs=None, guard=Guard(), cache_kib=64, value_bytes_max=1 << 20)
    for number in numbers:
        if not math.isnan(number):
            [(found,)] = connection.execute(f"SELECT {literal_of(number)}").fetchall()
            assert isinstance(found, float)
            assert struct.pack("d", found) == struct.pack("d", number), "equal is not enough: -0.0 == 0.0"
    connection.close()


EDGES: list[int | float | bytes | str | None] = [
    -0.0, 0.0, 5e-324, -5e-324, 2.2250738585072014e-308, 1.7976931348623157e308, float("inf"), float("-inf"),
    -9223372036854775808.0, 9223372036854775808.0, 9007199254740993.0, 1e22, 1e23, 0, -1, (1 << 63) - 1, -(1 << 63),
    b"", b"\0", "", "\0", "a\0b", "\\0\0", "\r\n\0'", None,
]  # fmt: skip


def test_values_at_the_edges_come_back_with_their_types_and_bits(
    database: Database, other: Database, tmp_path: Path
) -> None:
    """In columns of every affinity, through a dump."""

    def stored(at: Database) -> list[str]:
        rows = at.query("SELECT typeof(a), a, typeof(b), b, typeof(c), c FROM t ORDER BY id").rows
        return [repr(row) for row in rows]

    database.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, a, b REAL, c NUMERIC)")
    database.executemany("INSERT INTO t(a, b, c) VALUES (?1, ?1, ?1)", [(value,) for value in EDGES])
    assert "'real', -0.0" in stored(database)[0]
    export_file(database, tmp_path / "x.sql")
    import_file(other, tmp_path / "x.sql")
    assert stored(other) == stored(database)


def test_a_counter_without_a_table_that_counts_comes_back(database: Database, other: Database, tmp_path: Path) -> None:
    """The last table with AUTOINCREMENT was dropped: the dump, and the shell's, speaks of a table that nothing makes."""
    database.run_script("CREATE TABLE t(id INTEGER PRIMARY KEY AUTOINCREMENT); INSERT INTO t VALUES (7); DROP TABLE t")
    database.run_script("CREATE TABLE k(y); INSERT INTO k VALUES (1)")
    export_file(database, tmp_path / "x.sql")
    assert import_file(other, tmp_path / "x.sql").rows == 1
    assert content(other) == content(database)
    other.run_script("CREATE TABLE u(id INTEGER PRIMARY KEY AUTOINCREMENT); INSERT INTO u DEFAULT VALUES")
    assert other.query("SELECT * FROM sqlite_sequence").rows == [("u", 1)]


def test_statistics_that_this_sqlite_does_not_keep_are_passed_over(database: Database, write: Write) -> None:
    text = "CREATE TABLE t(a);\nANALYZE sqlite_schema;\nINSERT INTO sqlite_stat3 VALUES('t','i',1,1,1,1);\nINSERT INTO t VALUES(1);"
    import_file(database, write("x.sql", text))
    assert database.query("SELECT a FROM t").rows == [(1,)]
    with pytest.raises(Invalid, match="line 1: no such table: t2"):
        import_file(database, write("y.sql", "INSERT INTO t2 VALUES(1);"))


REQUESTS = (
    "CREATE TABLE virke_requests(key TEXT PRIMARY KEY, hash BLOB, answer BLOB) WITHOUT ROWID;"
    "INSERT INTO virke_requests VALUES('{}', x'00', x'01');"
)


def test_keyed_writes_are_in_no_schema_and_no_dump(database: Database, tmp_path: Path) -> None:
    """They belong to this database and its clients; migrations stay in sight."""
    database.run_script(REQUESTS.format("k") + "CREATE TABLE virke_migrations(n); CREATE TABLE t(a); ANALYZE")
    assert [entry.name for entry in database.schema()] == ["virke_migrations", "t"]
    with pytest.raises(NotFound):
        database.schema("virke_requests")
    export_file(database, tmp_path / "x.sql")
    text = (tmp_path / "x.sql").read_text()
    assert "virke_requests" not in text
    assert "virke_migrations" in text


def test_a_dump_with_keyed_writes_leaves_those_of_the_database_alone(database: Database, write: Write) -> None:
    """The shell's dump of an exported file has them; they are another database's."""
    dump = write(
        "x.sql", REQUESTS.format("theirs").replace(";", ";\n") + "CREATE TABLE t(a);\nINSERT INTO t VALUES(1);\n"
    )
    import_file(database, dump)
    assert database.query("SELECT name FROM sqlite_schema").rows == [("t",)]
    database.run_script("DROP TABLE t;" + REQUESTS.format("ours"))
    import_file(database, dump)
    assert database.query("SELECT key FROM virke_requests").rows == [("ours",)]
    assert database.query("SELECT a FROM t").rows == [(1,)]


COLUMNS: Final[dict[str, list[Value]]] = {
    "whole": [0, -1, 1 << 62, -(1 << 63), 7],
    "text": ["", "100 %", "%s%d", "é😀", "a"],
    "awkward": ["it's", "a\nb", "\r", "x\0y", "plain"],
    "reals": [0.1, 1.5e300, 1.5e-300, -2.25, 3.7],
    "round": [-0.0, 1e17, 5.0, float("inf"), 123456789012345678.0],
    "small": [1e-7, 5e-324, -1e-5, 1e22, 9007199254740993.0],
    "bytes": [b"", b"%s", b"\xff", b"a", b"'"],
    "void": [None] * 5,
    "mixed": [None, 1, 0.5, "x%", b"%"],
}


def test_values_of_a_column_are_written_together_as_each_of_them_alone(database: Database) -> None:
    """Whatever kinds they are of, and whatever the table is called."""
    table, columns = '100 %s "of" it', list(zip(*COLUMNS.values(), strict=True))
    database.execute(f"CREATE TABLE {quoted_name(table)} ({','.join(COLUMNS)})")
    database.executemany(f"INSERT INTO {quoted_name(table)} VALUES ({','.join('?' * len(COLUMNS))})", columns)
    text = b"".join(export_parts(database, data_only=True)).decode()
    lines = [f"INSERT INTO {quoted_name(table)} VALUES({','.join(map(literal_of, row))});\n" for row in columns]
    assert "".join(lines) in text


def test_what_a_killed_export_left_is_removed_by_the_next_one(database: Database, tmp_path: Path) -> None:
    """But nothing that is written, or could be, and no other file."""
    old, new, held, other = (
        tmp_path / f".x.sql.{name}.part" for name in ("0123abcd", "01234567", "89abcdef", "precious")
    )
    for path in (old, new, held, other):
        path.write_text("half")
    for path in (old, held, other):
        os.utime(path, (1, 1))
    with held.open("r+b") as file:
        assert try_lock(file.fileno())
        export_file(database, tmp_path / "x.sql")
    assert {path.name for path in tmp_path.iterdir()} >= {new.name, held.name, other.name, "x.sql"}
    assert not old.exists()


@pytest.mark.parametrize("format", ["sql", "csv", "ndjson"])
def test_text_reports_its_progress(database: Database, tmp_path: Path, format: str) -> None:
    """Bytes that were written so far; how many it will be nobody knows."""
    database.execute("CREATE TABLE t (a)")
    database.executemany("INSERT INTO t VALUES (?)", [("x" * 1000,)] * 1000)
    seen: list[tuple[int, int]] = []
    table = None if format == "sql" else "t"
    path = tmp_path / f"x.{format}"
    export_file(database, path, table=table, progress=lambda done, total: seen.append((done, total)))
    assert len(seen) >= 3
    assert seen == sorted(set(seen))
    assert seen[-1] == (path.stat().st_size, 0)


def test_a_file_that_is_there_is_kept(database: Database, tmp_path: Path) -> None:
    path = tmp_path / "x.sql"
    path.write_text("precious")
    with pytest.raises(Exists, match="is there already"):
        export_file(database, path)
    assert path.read_text() == "precious"
    assert export_file(database, path, force=True).bytes == path.stat().st_size
    assert sorted(p.name for p in tmp_path.iterdir() if p.name.startswith(".x")) == []


def test_what_cannot_be_written_is_refused(database: Database, tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="can't write"):
        export_file(database, tmp_path / "missing" / "x.sql")
    with pytest.raises(Invalid, match="unknown format 'xlsx'"):
        export_file(database, tmp_path / "x.xlsx", format="xlsx")


@pytest.mark.parametrize("others", [(), ("text",)])
def test_reals_have_seventeen_digits_which_older_sqlite_reads_exactly(
    database: Database, others: tuple[str, ...]
) -> None:
    """Fewer digits that mean the same are read a last bit off by SQLite before 3.43; in a column of REALs, and of all."""
    reals = (0.1, 1 / 3, 2.5e-7, 123456.789, 6.02214076e23, 5e-324, -1.7976931348623157e308)
    database.execute("CREATE TABLE r (v)")
    values: list[Value] = [*reals, *others]
    database.executemany("INSERT INTO r VALUES (?)", [(value,) for value in values])
    written = re.findall(r"(?<=[(,])-?[\d.]+(?:e[+-]\d+)?(?=\))", text_of(database))
    assert written[:2] == ["0.10000000000000001", "0.33333333333333331"]
    assert [float(text) for text in written] == list(reals)
    assert all(text == f"{value:.17g}" or text == f"{int(value)}.0" for text, value in zip(written, reals, strict=True))
