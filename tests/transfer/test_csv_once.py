"""A CSV file is read once, in blocks; what comes in is what each record says, with types that hold all of them."""

from __future__ import annotations

import gzip
import io
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from random import Random
from unittest import mock

import pytest

from tests.transfer.conftest import content
from virke.engine.database import Database
from virke.errors import VirkeError
from virke.opening import create
from virke.transfer import csv_file, csv_records, csv_table, import_file, source
from virke.transfer.csv_records import Records
from virke.transfer.importing import Imported
from virke.transfer.source import Source

Write = Callable[[str, str | bytes], Path]

NUMBERS = ["", '""', "1", "-2", "17", "2.0", "1.5", '"4"']
FIELDS = [
    *NUMBERS, "0", "007", "1.50", "2.25", "9007199254740993", "9223372036854775808", "-0", "1e5", "1e400", "x", '"a"', "é",
    '"a""b"', '"a\nb"', '"a\r\nb"', '"\r"', '""""', '"","', 'a"b', '" "', " 1", '"x,y;z"', "NULL", "\\N", "\v", "\u2028", '"q\n""\n"',
]  # fmt: skip
BROKEN = ['"a"b', '"""', '"', '"x\n']
NAMES = ["a", "b", "A", "", '""', '"x y"', "c", "1"]
TABLES = [
    *[""] * 3,
    "CREATE TABLE t(a INTEGER PRIMARY KEY, b, c TEXT, d REAL)",
    "CREATE TABLE t(a TEXT NOT NULL DEFAULT 'd', b INT UNIQUE, c BLOB, d INT NOT NULL DEFAULT (1 + 1))",
    "CREATE TABLE t(a ANY, b ANY CHECK (typeof(b) <> 'integer'), c TEXT, d REAL) STRICT",
]


def some_file(chance: Random) -> bytes:
    """Mostly a table of columns that are alike, now and then with a field, a record or a byte that is not."""
    mark, end, width = chance.choice(",,,;\t|"), chance.choice(["\n", "\n", "\r\n", "\r"]), chance.choice([1, 2, 3, 4])
    lines = [""] * chance.choice([0, 0, 0, 0, 3])
    lines.append(mark.join(chance.choice(NAMES) if chance.random() < 0.2 else name for name in "abcd"[:width]))
    plain = [NUMBERS, ["1", "2", ""], ["0.5", "10.75"], ["1.50", "2.75"], [""]]
    kinds = [chance.choice([*plain, FIELDS, FIELDS]) for _ in range(width)]
    rarely = chance.choice([0, 0.02])
    for _ in range(chance.choice([0, 3, 30, 100])):
        record = [chance.choice(FIELDS if chance.random() < rarely else kind) for kind in kinds]
        if chance.random() < rarely:
            record = chance.choice([[], record[:-1], [*record, ""], [*record, ""], [*record, "x"]])
        if chance.random() < rarely / 4:
            record = [*record[:-1], chance.choice(BROKEN)]
        lines.append(mark.join(record))
    text = end.join(lines) + end * chance.choice([0, 1, 1])
    data = text.encode(chance.choice(["utf-8", "utf-8", "utf-8-sig", "utf-16"]))
    if chance.random() < 0.03:
        data = data[: len(data) // 2] + b"\xff" + data[len(data) // 2 :]
    return gzip.compress(data) if chance.random() < 0.1 else data


def outcome(data: bytes, table: str, *, header: bool) -> tuple[object, dict[str, object]]:
    """What a file brings into a new database, and what is said of it."""
    with create("subject", "memory://") as database:
        if table:
            database.execute(table)
        try:
            done: object = import_file(database, io.BytesIO(data), table="t", kind="csv", header=header)
        except VirkeError as error:
            done = type(error), error.message, getattr(error, "line", None)
        return done, content(database)


def record_by_record() -> ExitStack:
    """All types are known before the first row, and all records are read one by one."""
    stack = ExitStack()
    stack.enter_context(mock.patch.object(csv_table, "AHEAD_CHARS", 1 << 40))
    stack.enter_context(mock.patch.object(Records, "_is_in_bounds", return_value=False))
    return stack


def in_small_blocks(block: int, together: int, fields: int) -> ExitStack:
    """Blocks, batches and what is seen before the first row are small."""
    stack = ExitStack()
    for module, name, value in (
        (csv_table, "AHEAD_CHARS", block),
        (csv_records, "BLOCK_CHARS", block),
        (csv_records, "TOGETHER_MAX", together),
        (csv_file, "FIELDS_TOGETHER", fields),
    ):
        stack.enter_context(mock.patch.object(module, name, value))
    return stack


@pytest.mark.parametrize("seed", range(8))
def test_one_reading_in_blocks_brings_what_two_readings_of_each_record_do(seed: int) -> None:
    chance, comes_in = Random(seed), 0
    for _ in range(40):
        data, table, header = some_file(chance), chance.choice(TABLES), chance.random() < 0.8
        with mock.patch.object(source, "CHUNK_BYTES", chance.choice([40, 1000, 1 << 20])):
            with record_by_record():
                expected = outcome(data, table, header=header)
            assert outcome(data, table, header=header) == expected
            with in_small_blocks(chance.randint(1, 200), chance.randint(1, 5), chance.randint(1, 12)):
                assert outcome(data, table, header=header) == expected
        comes_in += isinstance(expected[0], Imported)
    assert comes_in > 10


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How long each chunk was that was read of a file."""
    found: list[int] = []
    chunks = Source.chunks

    def counted(this: Source) -> Iterator[bytes]:
        for chunk in chunks(this):
            found.append(len(chunk))
            yield chunk

    monkeypatch.setattr(Source, "chunks", counted)
    monkeypatch.setattr(source, "CHUNK_BYTES", 1000)
    return found


RECORDS = "a,b\n" + "1,x\n" * 100_000


def test_a_file_is_read_once(database: Database, write: Write, read: list[int]) -> None:
    """Its first chunk twice: the mark between the fields is looked for there."""
    import_file(database, write("x.csv", RECORDS), table="t")
    assert sum(read) == len(RECORDS) + 1000
    assert database.query("SELECT a, b, count(*) FROM t").rows == [(1, "x", 100_000)]


def test_a_file_whose_column_is_wider_at_its_end_is_read_twice(
    database: Database, write: Write, read: list[int]
) -> None:
    done = import_file(database, write("x.csv", RECORDS + "0.5,y\n"), table="t")
    assert sum(read) == 2 * (len(RECORDS) + 6 + 1000)
    assert (done.statements, done.rows) == (2, 100_001)
    assert database.query("SELECT type FROM pragma_table_info('t')").rows == [("REAL",), ("TEXT",)]
    assert database.query("SELECT a, b, count(*) FROM t GROUP BY b").rows == [(1.0, "x", 100_000), (0.5, "y", 1)]
    assert database.query("PRAGMA freelist_count").rows == [(0,)]


def test_a_column_that_is_text_at_last_has_all_its_values(database: Database, write: Write) -> None:
    """Nothing first, then a number, which stops the rows, and text in the end: the table was right, and is not whole."""
    import_file(database, write("x.csv", "a,b\n" + ",x\n" * 100_000 + "1,y\n" * 1000 + "z,y\n"), table="t")
    found = [(None, 100_000), ("1", 1000), ("z", 1)]
    assert database.query("SELECT a, count(*) FROM t GROUP BY a").rows == found


def test_the_line_of_a_record_that_is_refused_is_known_in_any_block(database: Database, write: Write) -> None:
    text = 'a,b\n1,"x\ny"\n' + "".join(f'{number},"x\n\ny"\n' for number in range(2, 40_000)) + "7,again\n"
    database.execute("CREATE TABLE t(a INTEGER PRIMARY KEY, b)")
    with pytest.raises(VirkeError, match=rf"line {text.count(chr(10))}: UNIQUE constraint failed"):
        import_file(database, write("x.csv", text), table="t")
