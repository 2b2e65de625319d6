"""Rows come in bounded memory, also within a transaction, and are never fewer than there are."""

from __future__ import annotations

import pytest

import virke
from virke import dbapi
from virke.dbapi.session import CHUNK_BYTES, CHUNK_ROWS_MAX

COUNT = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c LIMIT {}) SELECT n{} FROM c"


@pytest.mark.parametrize("ends", ["commit", "rollback"])
def test_rows_of_a_transaction_can_be_read_after_its_end(con: dbapi.Connection, ends: str) -> None:
    con.execute("INSERT INTO item (name) VALUES ('salt')")
    rows = con.execute(COUNT.format(3000, ", (SELECT count(*) FROM item)"))
    assert next(rows) == (1, 3)
    getattr(con, ends)()
    con.execute("DELETE FROM item")
    assert list(rows) == [(n, 3) for n in range(2, 3001)]


def test_a_table_can_be_dropped_while_rows_of_it_are_open(con: dbapi.Connection) -> None:
    con.execute("BEGIN")
    con.execute("INSERT INTO item (name) VALUES ('salt')")
    rows = con.execute("SELECT a.name FROM item a, item b, item c")
    assert next(rows)
    con.execute("DROP TABLE item")
    assert len(rows.fetchall()) == 26
    con.rollback()


def test_rows_that_are_written_while_they_are_read_come_once(con: dbapi.Connection) -> None:
    con.executemany("INSERT INTO item (name) VALUES (?)", ((str(n),) for n in range(500)))
    for (number,) in con.execute("SELECT id FROM item WHERE id > 2 ORDER BY id"):
        con.execute("UPDATE item SET price = ? WHERE id = ?", (number, number))
    con.commit()
    assert con.execute("SELECT count(*) FROM item WHERE price = id").fetchone() == (500,)


def test_a_result_larger_than_may_be_held_is_read_in_parts() -> None:
    """Within a transaction and outside; what would have to be held at its end is an error, not a shorter result."""
    with virke.connect("large", "memory://large-rows", create=True) as database:
        database.change_settings({"max_result_mb": 1})
    con = dbapi.connect("large", "memory://large-rows")
    large = COUNT.format(4000, ", hex(randomblob(500))")
    assert sum(1 for _ in con.execute(large)) == 4000
    con.execute("BEGIN")
    assert sum(1 for _ in con.execute(large)) == 4000
    rows = con.execute(large)
    next(rows)
    con.commit()
    with pytest.raises(dbapi.ProgrammingError, match="before all of these rows were read"):
        rows.fetchall()
    con.close()


@pytest.mark.parametrize("begins", [False, True])
def test_no_more_rows_are_read_ahead_than_fit_a_part(begins: bool) -> None:
    """By what a function that each row calls has seen."""
    con = dbapi.connect(":memory:")
    seen: list[int] = []

    def see(number: int, size: int) -> bytes:
        seen.append(number)
        return bytes(size)

    con.create_function("see", 2, see)
    if begins:
        con.execute("BEGIN")
    for size in (1, 30_000):
        seen.clear()
        rows = con.execute(COUNT.format(5000, ", see(n, ?)"), (size,))
        for read, _ in zip(range(1, 1000), rows, strict=False):
            assert len(seen) - read <= min(CHUNK_ROWS_MAX, max(2, CHUNK_BYTES // size))
    con.close()
