"""What a statement meant that names a table or a column that is not there, from the schema that the connection has read.

1. At most `TABLES_MAX` names of tables and the columns of `TABLES_READ_MAX` tables are looked at, once for each error.
2. Where a request pays for what it reads (`Guard.allowance`), nothing is looked at: a hint is not worth a request to the store.
3. No hint is an error: what can't be looked at has none.
"""

from __future__ import annotations

import re
from typing import Final

import apsw

from virke.engine.sqlite.guard import Guard
from virke.nearest import nearest_word

TABLES_MAX: Final = 500
TABLES_READ_MAX: Final = 16
_WORD: Final = r"\w+"


def guessed_name(connection: apsw.Connection, guard: Guard, message: str, sql: str) -> str | None:
    """The name that was meant, as a question; None if there is none like it."""
    if guard.allowance is not None:
        return None
    guard.seen = None  # what is asked here is not the statement
    try:
        if (found := message.removeprefix("no such table: ")) != message:
            prefix, _, name = found.rpartition(".")
            meant = nearest_word(name, _table_names(connection)) if prefix in ("", "main") else None
        elif (found := message.removeprefix("no such column: ")) != message:
            meant = nearest_word(found.rpartition(".")[2].strip('"'), _column_names(connection, sql))
        elif " has no column named " in message:
            table, _, name = message.removeprefix("table ").partition(" has no column named ")
            meant = nearest_word(name, _column_names(connection, table))
        else:
            return None
    except apsw.Error:
        guard.denied = None
        return None
    return meant and f"did you mean {meant!r}?"


def _table_names(connection: apsw.Connection) -> list[str]:
    sql = "SELECT name FROM sqlite_schema WHERE type IN ('table', 'view') AND name NOT LIKE 'virke\\_%' ESCAPE '\\' LIMIT ?"
    return [str(name) for (name,) in connection.execute(sql, (TABLES_MAX,)).fetchall()]


def _column_names(connection: apsw.Connection, sql: str) -> list[str]:
    """Those of the tables whose names are words of the statement."""
    words = {word.lower() for word in re.findall(_WORD, sql)}
    tables = [table for table in _table_names(connection) if table.lower() in words][:TABLES_READ_MAX]
    asked = "SELECT name FROM pragma_table_info(?)"
    return [str(name) for table in tables for (name,) in connection.execute(asked, (table,)).fetchall()]
