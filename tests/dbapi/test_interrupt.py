"""A statement is ended from another thread, however its rows are read."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from virke import dbapi


def test_a_statement_is_interrupted_from_another_thread(con: dbapi.Connection) -> None:
    rows = con.execute("WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT n FROM c")
    assert next(rows) == (1,)
    thread = threading.Thread(target=con.interrupt)
    thread.start()
    thread.join()
    with pytest.raises(dbapi.OperationalError) as caught:
        rows.fetchall()
    assert caught.value.sqlite_errorname == "SQLITE_INTERRUPT"
    assert con.execute("SELECT count(*) FROM item").fetchone() == (2,)


def test_a_statement_whose_few_rows_are_read_at_once_is_interrupted_too(con: dbapi.Connection) -> None:
    counting = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c LIMIT ?) SELECT count(*) FROM c"
    for _ in range(2):  # now it is known that it has few rows
        assert con.execute(counting, (10,)).fetchall() == [(10,)]
    done = threading.Event()

    def interrupt() -> None:
        while not done.wait(0.001):
            con.interrupt()

    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(interrupt)
        try:
            with pytest.raises(dbapi.OperationalError) as caught:
                con.execute(counting, (-1,)).fetchall()
        finally:
            done.set()
        asked.result()
    assert caught.value.sqlite_errorname == "SQLITE_INTERRUPT"
