"""A CSV file becomes rows that mean what the file says, or an error names its line."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.transfer.conftest import content
from virke.engine.database import Database
from virke.errors import Invalid, SqlError
from virke.opening import create
from virke.transfer import import_file
from virke.transfer.csv_types import Type, type_of

Write = Callable[[str, str | bytes], Path]


def types(database: Database) -> list[str]:
    return [str(row[0]) for row in database.query("SELECT type FROM pragma_table_info('t')").rows]


def test_types_are_those_of_the_whole_file(database: Database, write: Write) -> None:
    text = (
        "id,zip,price,note,big,huge,mixed,none,plus,when\n"
        "1,0150,1.50,,9223372036854775807,9223372036854775808,1,,+1,2020-01-01\n"
        "-2,90210,2,'',1,1,x,,2,2021-01-01\n"
    )
    done = import_file(database, write("x.csv", text), table="t")
    assert (done.kind, done.rows) == ("csv", 2)
    assert types(database) == ["INTEGER", "TEXT", "REAL", "TEXT", "INTEGER", "TEXT", "TEXT", "TEXT", "TEXT", "TEXT"]
    assert database.query("SELECT * FROM t").rows == [
        (1, "0150", 1.5, None, 9223372036854775807, "9223372036854775808", "1", None, "+1", "2020-01-01"),
        (-2, "90210", 2.0, "''", 1, "1", "x", None, "2", "2021-01-01"),
    ]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("0", Type.INTEGER), ("-0", Type.REAL), ("007", Type.TEXT), ("1_000", Type.TEXT), (" 1", Type.TEXT),
        ("\u0661", Type.TEXT), ("9007199254740993", Type.BIG), ("1e400", Type.TEXT), ("1e5", Type.REAL), (".5", Type.TEXT),
        ("nan", Type.TEXT), ("inf", Type.TEXT), ("0.1234567890123456789", Type.TEXT), ("1" * 5000, Type.TEXT),
        ("0x10", Type.TEXT), ("1.", Type.TEXT), ("-1.5E-3", Type.REAL), ("1,5", Type.TEXT),
    ],
)  # fmt: skip
def test_a_number_is_one_only_if_nothing_is_lost(value: str, expected: Type) -> None:
    assert type_of(value) is expected


def test_big_integers_do_not_become_reals(database: Database, write: Write) -> None:
    import_file(database, write("x.csv", "a\n9007199254740993\n0.5\n"), table="t")
    assert database.query("SELECT a FROM t").rows == [("9007199254740993",), ("0.5",)]


@pytest.mark.parametrize("mark", [",", ";", "\t", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_the_delimiter_and_line_ends_are_found(database: Database, write: Write, mark: str, end: str) -> None:
    rows = [["name", "text, with; marks", "n"], ["a\nb", 'say "x"', "1,5"], ["c", "", "2,5"]]
    stream = io.StringIO(newline="")
    csv.writer(stream, delimiter=mark, lineterminator=end, quoting=csv.QUOTE_ALL).writerows(rows)
    import_file(database, write("x.csv", stream.getvalue()), table="t")
    assert database.query("SELECT * FROM t").rows == [("a\nb", 'say "x"', "1,5"), ("c", "", "2,5")]


def test_records_go_into_a_table_by_column_name(database: Database, write: Write) -> None:
    database.run_script(
        "CREATE TABLE t(id INTEGER PRIMARY KEY, name TEXT DEFAULT 'd', n NUMERIC, raw, g AS (id + 1));"
        "INSERT INTO t(id) VALUES (1)"
    )
    done = import_file(database, write("x.csv", "RAW,id,n\n1.50,2,007\n,3,\n"), table="t")
    assert done.statements == 1
    assert database.query("SELECT id, name, n, raw FROM t").rows == [
        (1, "d", None, None), (2, "d", 7, 1.5), (3, "d", None, None)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "kind", "message"),
    [
        ("id,nme\n1,a\n", Invalid, "table 't' has no column 'nme' that a file could fill; it has id, name"),
        ("id,g\n1,2\n", Invalid, "has no column 'g'"),
        ('id,name\n1,"a\nb"\n2,c,d\n', Invalid, "line 4: 3 fields, but the header names 2"),
        ("id,,name\n", Invalid, "has no column 'column_2'"),
        ("id,name\n1,a\n\n1,b\n", SqlError, "line 4: UNIQUE constraint failed"),
        ("id,name\nx,a\n", SqlError, "line 2: datatype mismatch"),
        ('id,name\n1,"a\n2,b\n', Invalid, "line 2: a quoted field in this record never ends"),
        ('id,name\n1,"a"b\n', Invalid, "line 2: not CSV"),
    ],
)
def test_a_file_that_does_not_fit_changes_nothing(
    database: Database, write: Write, text: str, kind: type[Invalid], message: str
) -> None:
    database.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, name, g AS (1))")
    before, version = content(database), database.version
    with pytest.raises(kind, match=message):
        import_file(database, write("x.csv", text), table="t")
    assert (content(database), database.version) == (before, version)


def test_bytes_that_are_no_text_are_named_with_their_line(database: Database, write: Write) -> None:
    rows = b"a,b\n" + b"1,2\n" * 600_000 + b"\xff,1\n"
    with pytest.raises(Invalid, match="line 600002: not valid UTF-8"):
        import_file(database, write("x.csv", rows), table="t")


def test_a_table_name_is_for_csv_and_csv_needs_one(database: Database, write: Write) -> None:
    with pytest.raises(Invalid, match="say which table"):
        import_file(database, write("x.csv", "a,b\n1,2\n"))
    with pytest.raises(Invalid, match=r"--table is for CSV and JSON files; x\.sql is SQL text"):
        import_file(database, write("x.sql", "SELECT 1;"), table="t")


def test_a_header_alone_makes_an_empty_table(database: Database, write: Write) -> None:
    assert import_file(database, write("x.csv", "a,b\n"), table='odd "name').rows == 0
    assert database.query('SELECT * FROM "odd ""name"').columns == ["a", "b"]


CELLS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=6) | st.integers().map(str)


@settings(max_examples=50)
@given(st.lists(st.tuples(CELLS, CELLS), max_size=20))
def test_every_value_reads_back_as_it_stood_in_the_file(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]]
) -> None:
    folder = tmp_path_factory.mktemp("csv")
    with (folder / "x.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, quoting=csv.QUOTE_ALL).writerows([("a", "b"), *rows])
    with create("x", "memory://") as database:
        import_file(database, folder / "x.csv", table="t")
        found = database.query("SELECT a, b FROM t").rows
    for expected, row in zip(rows, found, strict=True):
        for text, value in zip(expected, row, strict=True):
            assert (value is None and text == "") or text in (value, str(value)) or float(text) == value


def test_names_that_are_missing_or_double_are_made_and_told(database: Database, write: Write) -> None:
    done = import_file(database, write("x.csv", ',a, A ,"",a_3,a\n1,2,3,4,5,6\n'), table="t")
    assert database.query("SELECT * FROM t").columns == ["column_1", "a", "A_3_", "column_4", "a_3", "a_6"]
    assert [warning.split(": ")[1] for warning in done.warnings] == [
        "column 1 has no name", "column 3 has the name of another", "column 4 has no name", "column 6 has the name of another",
    ]  # fmt: skip


def test_short_records_are_filled_up_and_empty_ends_left_out(database: Database, write: Write) -> None:
    done = import_file(database, write("x.csv", "a,b\n1,2\n3\n\n4\n5,6,,\n"), table="t")
    assert database.query("SELECT * FROM t").rows == [(1, 2), (3, None), (4, None), (5, 6)]
    assert done.warnings == (
        "x.csv: 2 records have less than 2 fields (first: line 3): the rest is NULL",
        "x.csv: 1 records have more than 2 fields: the rest, which is empty, is left out",
    )


def test_nothing_and_the_empty_text_are_told_apart(database: Database, write: Write) -> None:
    text = 'a,n,m\n"",1,"1"\n,,""\n"x""y",2,"2"\n"p\n"",""\nq",3,"3"\n'
    import_file(database, write("x.csv", text), table="t")
    assert database.query("SELECT * FROM t").rows == [
        ("", 1, 1), (None, None, None), ('x"y', 2, 2), ('p\n","\nq', 3, 3)
    ]  # fmt: skip
    import_file(database, write("x.csv", "b\n\n1\n\n"), table="one")
    assert database.query("SELECT * FROM one").rows == [(None,), (1,), (None,)]


def test_where_a_table_refuses_null_its_default_stands_for_nothing(database: Database, write: Write) -> None:
    database.execute(
        "CREATE TABLE t(id INTEGER, a TEXT NOT NULL DEFAULT 'none', b TEXT DEFAULT 'b', n INT NOT NULL DEFAULT (1+1))"
    )
    import_file(database, write("x.csv", 'id,a,b,n\n1,,,\n2,"","",""\n3,x,y,7\n'), table="t")
    assert database.query("SELECT * FROM t").rows == [(1, "none", None, 2), (2, "", "", 2), (3, "x", "y", 7)]


def test_a_file_without_a_header(database: Database, write: Write) -> None:
    path = write("x.csv", "1,Ann\n2,Bob\n")
    import_file(database, path, table="made", header=False)
    assert database.query("SELECT * FROM made").rows == [(1, "Ann"), (2, "Bob")]
    assert database.query("SELECT * FROM made").columns == ["column_1", "column_2"]
    database.execute("CREATE TABLE there(id INTEGER PRIMARY KEY, name, note DEFAULT 'new')")
    import_file(database, path, table="there", header=False)
    assert database.query("SELECT * FROM there").rows == [(1, "Ann", "new"), (2, "Bob", "new")]
    assert "the first line looks like data: '1'" in import_file(database, path, table="wrong").warnings[0]
    with pytest.raises(Invalid, match="table 'there' has 3 columns, and the first line 4 fields"):
        import_file(database, write("y.csv", "1,2,3,4\n"), table="there", header=False)


def test_numbers_whose_digits_would_be_lost_stay_text(database: Database, write: Write) -> None:
    text = "version,price,pandas,when\n1.9,1.50,1.0,1\n1.10,2.75,0.25,2\n"
    import_file(database, write("x.csv", text), table="t")
    assert database.query("SELECT * FROM t").rows == [("1.9", 1.5, 1.0, 1), ("1.10", 2.75, 0.25, 2)]
    import_file(database, write("x.csv", text), table="as_written", types="text")
    assert database.query("SELECT * FROM as_written").rows[1] == ("1.10", "2.75", "0.25", "2")
    with pytest.raises(Invalid, match="unknown types 'numbers'; known: infer, text"):
        import_file(database, write("x.csv", text), table="t", types="numbers")


def test_another_encoding_is_named_by_the_caller(database: Database, write: Write) -> None:
    path = write("x.csv", "id;city\n1;Zürich\n".encode("cp1252"))
    with pytest.raises(
        Invalid, match=r"line 2: not valid UTF-8: save it as UTF-8, or name its encoding \(--encoding cp1252\)"
    ):
        import_file(database, path, table="t")
    import_file(database, path, table="t", encoding="cp1252")
    assert database.query("SELECT * FROM t").rows == [(1, "Zürich")]


@pytest.mark.parametrize("quoted", [",", '"",""', "\n,"])
def test_marks_within_quotes_are_no_fields(database: Database, write: Write, quoted: str) -> None:
    import_file(database, write("x.csv", f'a,b\n2,"{quoted * 40_000}"\n'), table="t")
    assert database.query("SELECT * FROM t").rows == [(2, (quoted * 40_000).replace('""', '"'))]
