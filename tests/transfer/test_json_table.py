"""JSON objects become rows, and a table becomes JSON objects that become the same rows."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.transfer.conftest import content
from virke.engine.database import Database
from virke.errors import Invalid, NotFound, SqlError, TooLarge
from virke.opening import create
from virke.transfer import export_file, import_file, json_table, source

Write = Callable[[str, str | bytes], Path]

ROWS = '{"id": 1, "name": "Ann", "score": 1, "tags": ["a", 2]}\n{"id": 2, "Name": null, "score": 0.5, "ok": true}\n'


@pytest.mark.parametrize(
    "text", [ROWS, f"[{ROWS.strip().replace(chr(10), ', ')}]", f" [\n{ROWS.strip().replace(chr(10), ',')}\n]\n"]
)
@pytest.mark.parametrize("chunk", [7, 1 << 20])
def test_lines_and_an_array_are_rows(
    database: Database, write: Write, monkeypatch: pytest.MonkeyPatch, text: str, chunk: int
) -> None:
    monkeypatch.setattr(source, "CHUNK_BYTES", chunk)
    done = import_file(database, write("x.json", text), table="t")
    assert (done.kind, done.rows) == ("ndjson", 2)
    assert database.query("SELECT * FROM t").rows == [(1, "Ann", 1.0, '["a",2]', None), (2, None, 0.5, None, 1)]
    declared = database.query("SELECT name, type FROM pragma_table_info('t')").rows
    assert declared == [("id", "INTEGER"), ("name", "TEXT"), ("score", "REAL"), ("tags", "TEXT"), ("ok", "INTEGER")]


def test_it_is_told_by_content_where_a_table_is_named(database: Database, write: Write) -> None:
    assert import_file(database, write("rows", '{"a": 1}'), table="t").kind == "ndjson"
    with pytest.raises(Invalid, match=r"rows is a JSON file: say which table it is for \(--table\)"):
        import_file(database, write("rows", '{"a": 1}'))


def test_keys_go_into_the_columns_of_a_table(database: Database, write: Write) -> None:
    database.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, name TEXT NOT NULL DEFAULT 'none', n)")
    import_file(database, write("x.ndjson", '{"ID": 7}\n{"name": "x", "n": {"base64": "AP8="}}\n'), table="t")
    assert database.query("SELECT * FROM t").rows == [(7, "none", None), (8, "x", b"\0\xff")]


@pytest.mark.parametrize(
    ("text", "kind", "message"),
    [
        ('{"id": 1}\n\n{"id": 2\n', Invalid, "x.json, line 3: not JSON"),
        ('{"id": 1}\n[1]', Invalid, "line 2: an object is expected here"),
        ('[{"id": 1}', Invalid, "the array never ends"),
        ('[{"id": 1}] 2', Invalid, "there is more after the array"),
        ('{"id": 1}\n{"id":\n 1}\n', SqlError, "line 2: UNIQUE constraint failed"),
        ('{"nme": 1}', Invalid, "table 't' has no column 'nme' that a file could fill; it has id, name"),
        ('{"": 1}', Invalid, "line 1: a key is empty"),
        ('{"id": {"int64": "x"}}', Invalid, "is not a value"),
        ('{"name": ' + "[" * 100_000, Invalid, "line 1: not JSON"),
    ],
)
def test_what_does_not_fit_changes_nothing(
    database: Database, write: Write, text: str, kind: type[Invalid], message: str
) -> None:
    database.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, name)")
    before, version = content(database), database.version
    with pytest.raises(kind, match=message):
        import_file(database, write("x.json", text), table="t")
    assert (content(database), database.version) == (before, version)


@pytest.mark.parametrize("text", ["", "[]", "{}"])
def test_a_file_without_rows_adds_nothing_to_a_table_and_makes_none(
    database: Database, write: Write, text: str
) -> None:
    with pytest.raises(Invalid, match=r"x\.ndjson holds no object with a key, and there is no table 't'"):
        import_file(database, write("x.ndjson", text), table="t")
    database.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, name)")
    assert import_file(database, write("x.ndjson", text), table="t").rows == 0
    assert database.query("SELECT * FROM t").rows == []


def test_an_object_that_never_ends_is_refused_in_bounded_memory(
    database: Database, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_table, "OBJECT_CHARS_MAX", 1000)
    monkeypatch.setattr(source, "CHUNK_BYTES", 100)
    with pytest.raises(TooLarge, match="line 2: an object of more than 0 MiB, or one that never ends"):
        import_file(database, write("x.ndjson", '{"a": 1}\n{"a": "' + "x" * 10_000), table="t")


VALUES = (
    st.none() | st.integers(-(1 << 63), (1 << 63) - 1) | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"])) | st.binary()
)  # fmt: skip


@given(st.lists(st.tuples(VALUES, VALUES), min_size=1, max_size=20))
@settings(max_examples=60)
def test_what_goes_out_comes_in_again(rows: list[tuple[object, object]]) -> None:
    with create("here", "memory://") as database, create("there", "memory://") as other:
        for one in (database, other):
            one.execute("CREATE TABLE t(a, b)")
        database.executemany("INSERT INTO t VALUES (?, ?)", rows)  # type: ignore[arg-type]
        stream = io.BytesIO()
        assert export_file(database, stream, format="ndjson", table="t").format == "ndjson"
        assert [list(json.loads(line)) for line in stream.getvalue().splitlines()] == [["a", "b"]] * len(rows)
        import_file(other, io.BytesIO(stream.getvalue()), table="t")
        found = other.query("SELECT a, typeof(a), b, typeof(b) FROM t").rows
        assert found == database.query("SELECT a, typeof(a), b, typeof(b) FROM t").rows


def test_a_table_that_is_not_there_is_an_error(database: Database) -> None:
    with pytest.raises(NotFound, match="there is no table 'none'"):
        export_file(database, io.BytesIO(), format="ndjson", table="none")
