"""A table as CSV: what comes out goes in again, and the bytes are those that are documented."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from virke.engine.database import Database
from virke.errors import Invalid, NotFound
from virke.opening import create
from virke.transfer import export_file, export_parts, import_file
from virke.transfer.dump import PIECE_CHARS

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)
"""What a CSV file can hold; one with a NUL is binary to an import."""


def exported(database: Database, table: str = "t") -> str:
    stream = io.BytesIO()
    assert export_file(database, stream, table=table).format == "csv"
    assert b"".join(export_parts(database, format="csv", table=table)) == stream.getvalue()
    return stream.getvalue().decode()


def test_each_kind_of_value_has_its_form(database: Database) -> None:
    database.run_script(
        """CREATE TABLE t("a,b", n, g AS (n || '!'));
        INSERT INTO t("a,b", n) VALUES (NULL, 1.0), ('', 9223372036854775807), ('say "x"', 1e999), (x'00ff', 0.1),
        ('two' || char(10) || 'lines', -1e999), (' edge', 'é😀')"""
    )
    assert exported(database) == (
        '"a,b",n,g\n,1.0,1.0!\n"",9223372036854775807,9223372036854775807!\n"say ""x""",Infinity,Inf!\n'
        '00ff,0.1,0.1!\n"two\nlines",-Infinity,-Inf!\n" edge",é😀,é😀!\n'
    )


def test_a_view_and_a_table_of_one_column_can_be_exported(database: Database) -> None:
    database.run_script(
        "CREATE TABLE one(x); INSERT INTO one VALUES (NULL), (2); CREATE VIEW v AS SELECT x + 1 AS y FROM one"
    )
    assert exported(database, "one") == "x\n\n2\n"
    assert exported(database, "v") == "y\n\n3\n"


@given(st.lists(st.tuples(TEXTS, TEXTS | st.none()), min_size=1, max_size=20))
@settings(max_examples=60)
def test_text_comes_back_as_it_was(rows: list[tuple[str, str | None]]) -> None:
    with create("here", "memory://") as database, create("there", "memory://") as other:
        for one in (database, other):
            one.execute("CREATE TABLE t(a TEXT, b TEXT)")
        database.executemany("INSERT INTO t VALUES (?, ?)", rows)
        import_file(other, io.BytesIO(exported(database).encode()), table="t", kind="csv")
        assert other.query("SELECT * FROM t").rows == rows


def test_a_large_table_comes_in_pieces(database: Database) -> None:
    database.run_script(
        "CREATE TABLE t(a); WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i + 1 FROM n WHERE i < 20)"
        f"INSERT INTO t SELECT printf('%.*c', {PIECE_CHARS // 5}, 'x') FROM n"
    )
    pieces = list(export_parts(database, format="csv", table="t"))
    assert len(pieces) == 4
    assert max(map(len, pieces)) < 2 * PIECE_CHARS


def test_what_cannot_be_a_csv_file_is_refused(database: Database, tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    with pytest.raises(Invalid, match="say which"):
        export_file(database, path)
    with pytest.raises(Invalid, match="--table is for the other formats"):
        export_file(database, tmp_path / "x.db", table="t")
    with pytest.raises(NotFound, match="no table 't'"):
        export_file(database, path, table="t")
    database.run_script("CREATE TABLE t(a); INSERT INTO t VALUES ('x'), (CAST(x'ff' AS TEXT))")
    with pytest.raises(Invalid, match="row 2 of t"):
        export_file(database, path, table="t")
    assert not path.exists()
