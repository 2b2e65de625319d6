"""pandas, Polars and DuckDB on a database of Virke: `frames_program.py STORE-OR-NODE SQLALCHEMY-URL`; prints its answers."""

from __future__ import annotations

import json
import sys
import warnings
from datetime import date, datetime, timedelta
from decimal import Decimal
from uuid import UUID

import duckdb
import numpy
import pandas
import polars
import pyarrow
from sqlalchemy import create_engine, text

import virke
from virke import dbapi

WHERE, URL = sys.argv[1:3]
ROWS = 70_000  # more than two batches of Arrow
answers: dict[str, object] = {}


def with_pandas() -> None:
    """A frame goes in by SQLAlchemy and by PEP 249, and comes back as it was."""
    moments = [datetime(2026, 1, 1) + timedelta(minutes=n) for n in range(1000)]
    frame = pandas.DataFrame(
        {"id": range(1000), "at": moments, "name": [f"n{n}" for n in range(1000)], "price": numpy.arange(1000) / 4}
    )
    engine = create_engine(URL)
    frame.to_sql("frame", engine, index=False)
    frame.to_sql("frame", engine, index=False, if_exists="append", method="multi", chunksize=100)
    back = pandas.read_sql("SELECT * FROM frame ORDER BY rowid LIMIT 1000", engine, parse_dates=["at"])
    answers["pandas: the same frame"] = bool((back == frame).all().all())
    answers["pandas: a whole table"] = len(pandas.read_sql_table("frame", engine))
    chunks = pandas.read_sql_query(text("SELECT id FROM frame"), engine, chunksize=300)
    answers["pandas: chunks"] = [len(chunk) for chunk in chunks]
    engine.dispose()
    connection = dbapi.connect("app", WHERE)
    warnings.filterwarnings("ignore", "pandas only supports")  # it says so of all but its own list
    frame.drop(columns="at").to_sql("plain", connection, index=False)
    connection.commit()
    found = pandas.read_sql("SELECT sum(price) AS s FROM plain WHERE id < ?", connection, params=(numpy.int64(10),))
    answers["pandas: PEP 249"] = float(found["s"].iloc[0])
    connection.close()


def with_arrow(db: virke.Database) -> None:
    """Results of many batches, in Polars, DuckDB and pandas."""
    db.run_script("CREATE TABLE many (id INTEGER PRIMARY KEY, name TEXT, price REAL, at TEXT, amount TEXT, note)")
    insert = "INSERT INTO many (name, price, at, amount) VALUES (?, ?, ?, ?)"
    begin = datetime(2026, 1, 1)
    for at in range(0, ROWS, 10_000):
        rows = [(f"n{n}", n / 2, begin + timedelta(seconds=n), Decimal("1.50")) for n in range(at, at + 10_000)]
        db.executemany(insert, rows)
    types = {"at": "timestamp[us]", "amount": pyarrow.decimal128(12, 2)}
    reader = virke.fetch_arrow(db, "SELECT * FROM many ORDER BY id", types=types)
    answers["arrow: types"] = [str(field.type) for field in reader.schema]
    frame = polars.from_arrow(reader)
    answers["polars"] = [*frame.shape, str(frame["at"][-1]), str(frame["amount"].sum()), frame["note"].null_count()]
    batches = virke.fetch_arrow(db, "SELECT id FROM many")
    answers["arrow: batches"] = [batch.num_rows for batch in batches]
    reader = virke.fetch_arrow(db, "SELECT id, price FROM many WHERE id > ?", (numpy.int64(5),))
    answers["duckdb"] = [list(row) for row in duckdb.sql("SELECT count(*), sum(price) FROM reader").fetchall()]
    answers["arrow: pandas"] = virke.fetch_arrow(db, "SELECT name FROM many LIMIT 2").read_pandas()["name"].tolist()
    empty = virke.fetch_arrow(db, "SELECT * FROM many WHERE 0").read_all()
    answers["arrow: no rows"] = [empty.num_rows, [str(field.type) for field in empty.schema]]
    with virke.fetch_arrow(db, "SELECT id FROM many", batch_rows=10) as reader:
        answers["arrow: closed early"] = next(iter(reader)).num_rows


def refused(db: virke.Database) -> None:
    """What does not fit is an error that says so."""
    cases = {
        "kinds": ("SELECT 1 AS v UNION ALL SELECT 'x'", None),
        "later": ("SELECT CASE WHEN id < 60000 THEN id ELSE 'x' END AS v FROM many", None),
        "precise": ("SELECT 9007199254740993 AS v UNION ALL SELECT 0.5", None),
        "names": ("SELECT 1 AS a, 2 AS a", None),
        "column": ("SELECT 1 AS a", {"b": "int64"}),
        "type": ("SELECT 1 AS a", {"a": "nonsense"}),
        "writes": ("DELETE FROM many", None),
    }
    for name, (sql, types) in cases.items():
        try:
            virke.fetch_arrow(db, sql, types=types).read_all()
            answers[f"refused: {name}"] = "was not"
        except virke.VirkeError as error:
            answers[f"refused: {name}"] = error.kind
    answers["refused: left"] = db.query("SELECT count(*) FROM many").one()[0]
    mixed = virke.fetch_arrow(db, "SELECT 1 AS v UNION ALL SELECT 'x' ORDER BY 1", types={"v": "string"})
    answers["arrow: mixed as text"] = mixed.read_all()["v"].to_pylist()


def with_values(db: virke.Database) -> None:
    """Scalars of numpy and pandas are the values that they are."""
    given = [
        numpy.int64(7),
        numpy.float32(0.5),
        numpy.bool_(True),
        numpy.datetime64("2026-01-02T03:04:05.123456789"),
        numpy.datetime64("2026-01-02"),
        numpy.datetime64("NaT"),
        numpy.str_("x"),
        pandas.Timestamp("2026-01-02 03:04"),
        pandas.NaT,
        UUID(int=1),
        date(2026, 1, 2),
    ]
    for _ in range(2):  # the second time it is prepared already
        answers["values"] = [db.query("SELECT ?", [value]).one()[0] for value in given]
    for value in (numpy.array([1, 2]), numpy.timedelta64(1, "s"), pandas.NA):
        try:
            db.query("SELECT ?", [value])
            answers[f"refused: {type(value).__name__}"] = "was not"
        except virke.Invalid as error:
            answers[f"refused: {type(value).__name__}"] = error.context["hint"]
    rows = pandas.DataFrame({"n": [1, 2]}).itertuples(index=False, name=None)
    db.execute("CREATE TABLE n (v)")
    answers["values: rows of a frame"] = db.executemany("INSERT INTO n VALUES (?)", rows)


with virke.connect("app", WHERE, create=True) as database:
    with_pandas()
    with_arrow(database)
    refused(database)
    with_values(database)
print(json.dumps(answers))
