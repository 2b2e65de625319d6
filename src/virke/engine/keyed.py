"""Keyed requests: a request that carries an idempotency key is run once, and answered from a table when it comes again.

Knows the table and one connection inside a transaction; knows no queue and no commit.

1. Key, hash of the request and answer are written in the transaction of the request itself: they are in history
   exactly if it is (P2). A request that failed leaves nothing.
2. The same key with another request is `Invalid`; with the same request it is answered as it was the first time, rows
   and rowid included. An answer above `ANSWER_BYTES_MAX` is kept as the fact and the rows affected only.
3. An answer is kept for `KEPT_MS`; each keyed request removes up to `TRIMMED_AT_ONCE` older ones, so none waits long.
4. The table is made by the first keyed request, and hidden from schema, exports and dumps.
5. What databases of format 1 remember in the ring still answers (rows affected only).
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from virke.core.root import Root
from virke.engine.results import QueryResult
from virke.engine.schema import REQUESTS_TABLE
from virke.engine.sqlite import Column
from virke.engine.values import decode_value, encode_value
from virke.errors import Corrupt, Invalid

if TYPE_CHECKING:
    from virke.engine.connection import Connection

TABLE: Final = REQUESTS_TABLE
ANSWER_BYTES_MAX: Final = 16 << 10
KEPT_MS: Final = 24 * 3_600_000
TRIMMED_AT_ONCE: Final = 4
_CREATE: Final = f"""
CREATE TABLE {TABLE} (
    id INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE, request BLOB NOT NULL, at_ms INTEGER NOT NULL, answer TEXT NOT NULL
)
"""
_EXISTS: Final = f"SELECT 1 FROM sqlite_schema WHERE name = '{TABLE}' AND type = 'table'"
_FIND: Final = f"SELECT request, answer FROM {TABLE} WHERE key = ? AND at_ms > ?"
_TRIM: Final = (
    f"DELETE FROM {TABLE} WHERE id IN (SELECT id FROM {TABLE} ORDER BY id LIMIT {TRIMMED_AT_ONCE}) AND at_ms <= ?"
)
_KEEP: Final = f"INSERT OR REPLACE INTO {TABLE} (key, request, at_ms, answer) VALUES (?, ?, ?, ?)"

_SOME: Final = f"SELECT id, key, request, at_ms, answer FROM {TABLE} WHERE id > ? AND at_ms > ? ORDER BY id LIMIT 256"
_SAME: Final = f"SELECT 1 FROM {TABLE} WHERE key = ? AND request = ? AND at_ms = ?"


def find_answer(
    connection: Connection, key: bytes, request: bytes, *, now_ms: int, root: Root
) -> list[QueryResult] | None:
    """What the request with this key was answered; None if it was not seen in the last `KEPT_MS`.

    Raises:
        Invalid: the key came with another request.
    """
    if connection.internal(_EXISTS):
        for stored, answer in connection.internal(_FIND, (key, now_ms - KEPT_MS)):
            if stored != request:
                raise Invalid("this idempotency key was used for another request; use a new key for each request")
            return _decode_results(str(answer), root)
    if known := root.answer_to(key):  # a database that was of format 1
        return [QueryResult([], [], root, rows_affected=known[1].rows)]
    return None


def keep_answer(connection: Connection, key: bytes, request: bytes, *, now_ms: int, results: list[QueryResult]) -> None:
    """Remember the answer of a request that ran, in its own transaction."""
    if not connection.internal(_EXISTS):
        connection.internal(_CREATE)
    connection.internal(_TRIM, (now_ms - KEPT_MS,))
    connection.internal(_KEEP, (key, request, now_ms, _encode_results(results)))


def copy_answers(now: Connection, then: Connection, *, now_ms: int) -> int:
    """Give `then`, an earlier state, the answers of `now` that it lacks; how many those were. Both are in a transaction.

    What was done once is not done again because its answer went back with the data (P2).
    """
    copied = last = 0
    if not now.internal(_EXISTS):
        return 0
    while rows := now.internal(_SOME, (last, now_ms - KEPT_MS)):
        last = int(str(rows[-1][0]))
        for _, key, request, at_ms, answer in rows:
            if not copied and not then.internal(_EXISTS):
                then.internal(_CREATE)
            if then.internal(_SAME, (key, request, at_ms)):
                continue
            then.internal(_KEEP, (key, request, at_ms, answer))
            copied += 1
    return copied


def _encode_results(results: list[QueryResult]) -> str:
    whole = json.dumps(
        [
            {
                "columns": result.columns,
                "decltypes": result.decltypes,
                "rows": [[encode_value(value) for value in row] for row in result.rows],
                "rows_affected": result.rows_affected,
                "last_insert_rowid": result.last_insert_rowid,
            }
            for result in results
        ]
    )
    if len(whole) <= ANSWER_BYTES_MAX:
        return whole
    facts = [{"rows_affected": one.rows_affected, "last_insert_rowid": one.last_insert_rowid} for one in results]
    short = json.dumps(facts)
    return (
        short
        if len(short) <= ANSWER_BYTES_MAX
        else json.dumps([{"rows_affected": sum(one.rows_affected for one in results)}])
    )


def _decode_results(answer: str, root: Root) -> list[QueryResult]:
    try:
        return [
            QueryResult(
                list(one.get("columns", [])),
                [tuple(decode_value(value) for value in row) for row in one.get("rows", [])],
                root,
                [Column("", decltype) for decltype in one.get("decltypes", [])],
                rows_affected=one["rows_affected"],
                last_insert_rowid=one.get("last_insert_rowid"),
            )
            for one in json.loads(answer)
        ]
    except (ValueError, KeyError, TypeError, AttributeError, Invalid) as error:
        raise Corrupt(f"table {TABLE}: an answer is not as it was written") from error
