"""What Virke itself writes into SQLite's schema: the cookie that says it has changed, and a column's new definition.

Knows one connection that is inside a transaction; knows no text of callers but what `sqlite.columns` found in it.

1. A changed column (libSQL's `ALTER COLUMN … TO …`) is what SQLite would have made of the table had it been created so:
   the definition is tried on an empty table first, and one that SQLite refuses is refused before the schema is touched.
2. As in libSQL, PRIMARY KEY, UNIQUE and GENERATED can't be changed so, because indexes and rows are built on them; nor
   can the type of a column in the PRIMARY KEY, by which a table may be ordered.
3. Unlike in libSQL, no row contradicts the new definition afterwards: rows keep the values that they had (one that is
   stored without the column had the old default), a value has the new type's affinity, indexes are built again, and rows
   that break NOT NULL, CHECK or a STRICT type refuse the change. An added REFERENCES is not looked at, as in SQLite.
4. After any error the schema is what it was.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from virke.engine import sqlite
from virke.engine.sqlite import ColumnChange, Row
from virke.engine.units import Unit
from virke.errors import SqlError

if TYPE_CHECKING:
    from virke.engine.connection import Connection

_ALTERING: Final = Unit("alter")
_TRYING: Final = Unit("altered")
_SCRATCH: Final = "virke_altered"
_NAME, _TYPE, _DEFAULT, _KEY, _HIDDEN = 1, 2, 4, 5, 6
_FIND: Final = (
    "SELECT name, type, sql FROM main.sqlite_schema WHERE type IN ('table', 'view') AND lower(name) = lower(?)"
)
_UNIQUE: Final = "SELECT origin, partial, (SELECT group_concat(name) FROM pragma_index_info(i.name)) FROM pragma_index_list(?) i WHERE origin <> 'c'"


def reload_schema(connection: Connection) -> None:
    """Let SQLite read its schema again, which it keeps while the schema cookie stays the same."""
    _write_schema(connection, "PRAGMA writable_schema=RESET")


def raise_schema_cookie(connection: Connection) -> None:
    """Let every other connection read the schema again, and with it the statistics."""
    guard = connection.guard
    guard.allow_schema_writes = True
    try:
        version = int(connection.guarded(lambda: connection.raw.pragma("schema_version")))
        connection.guarded(lambda: connection.raw.pragma("schema_version", (version + 1) & 0x7FFFFFFF))
    finally:
        guard.allow_schema_writes = guard.analyzed = False


def _write_schema(connection: Connection, sql: str) -> None:
    guard = connection.guard
    guard.allow_schema_writes = True
    try:
        connection.guarded(lambda: connection.raw.execute(sql, can_cache=False).fetchall())
    finally:
        guard.allow_schema_writes = False


def alter_column(connection: Connection, change: ColumnChange) -> None:
    """Give a column another definition. Raises `SqlError`: it can't be, and nothing was changed."""
    table, create = _alterable_table(connection, change)
    columns = _table_columns(connection, table)
    place = next((at for at, one in enumerate(columns) if str(one[_NAME]).lower() == change.column.lower()), None)
    if place is None:
        raise SqlError(f'no such column: "{change.column}"')
    if change.renames:
        raise SqlError(f'ALTER COLUMN can\'t rename "{change.column}" as well; use ALTER TABLE … RENAME COLUMN')
    _ALTERING.begin(connection)
    try:
        _alter_definition(connection, change, table=table, create=create, place=place)
        connection.internal(f"DELETE FROM {_quoted_name(table)} WHERE 0")  # the statement itself has changed no rows
        if connection.internal(f"PRAGMA quick_check({_quoted_name(table)})") != [("ok",)]:
            raise _contradiction_error(connection, table)
    except BaseException:
        _ALTERING.undo(connection)
        reload_schema(connection)
        raise
    _ALTERING.keep(connection)


def _alterable_table(connection: Connection, change: ColumnChange) -> tuple[str, str]:
    """The name of a table that may be altered, and the statement that made it. Raises `SqlError`."""
    found = connection.internal(_FIND, (change.table,))
    if not found:
        raise SqlError(f"no such table: {change.table}")
    name, kind, create = (str(value) for value in found[0])
    if kind == "view" or create.upper().startswith("CREATE VIRTUAL"):
        raise SqlError(
            f"only ordinary tables can be altered, and {name} is a {'view' if kind == 'view' else 'virtual table'}"
        )
    if name.lower().startswith(("sqlite_", sqlite.RESERVED_PREFIX)):
        raise SqlError(f"table {name} may not be altered")
    return name, create


def _alter_definition(connection: Connection, change: ColumnChange, *, table: str, create: str, place: int) -> None:
    head, body = sqlite.with_definition(create, place, change.definition)
    before, after = _table_columns(connection, table)[place], _tried_definition(connection, body, table, place)
    touch = f"UPDATE {_quoted_name(table)} SET {_quoted_name(change.column)} = {_quoted_name(change.column)}"
    is_typed_anew = (
        after[_TYPE] != before[_TYPE]
        or "collate" in f"{sqlite.definition_of(create, place)}{change.definition}".lower()
    )
    if is_typed_anew and before[_KEY]:
        raise SqlError("the type of a column of the PRIMARY KEY cannot be altered")
    is_stored = not before[_HIDDEN] and not before[_KEY]
    if is_stored and after[_DEFAULT] != before[_DEFAULT]:
        _without_triggers(connection, touch)
    _write_definition(connection, table, head + body)
    if is_typed_anew:
        connection.internal(f"REINDEX {_quoted_name(table)}")
        if is_stored:
            _without_triggers(connection, touch)


def _tried_definition(connection: Connection, body: str, table: str, place: int) -> Row:
    """The column as SQLite understands its new definition. Raises `SqlError`: it does not, or what may not change does."""
    unique = connection.internal(_UNIQUE, (table,))
    before = _table_columns(connection, table)
    _TRYING.begin(connection)
    try:
        connection.internal(f"CREATE TABLE {_SCRATCH} {body}")
        after = _table_columns(connection, _SCRATCH)
        has_same_keys = sorted(map(repr, connection.internal(_UNIQUE, (_SCRATCH,)))) == sorted(map(repr, unique))
    except SqlError as error:
        raise SqlError(error.message.replace(_SCRATCH, table), sqlite_code=error.sqlite_code) from error
    finally:
        _TRYING.undo(connection)
    if [one[_NAME] for one in after] != [one[_NAME] for one in before]:
        raise SqlError("the definition is not that of one column")
    if [one[_KEY] for one in after] != [one[_KEY] for one in before]:
        raise SqlError("PRIMARY KEY constraint cannot be altered")
    if not has_same_keys:
        raise SqlError("UNIQUE constraint cannot be altered")
    if after[place][_HIDDEN] != before[place][_HIDDEN]:
        raise SqlError("GENERATED constraint cannot be altered")
    return after[place]


def _write_definition(connection: Connection, table: str, create: str) -> None:
    _write_schema(connection, "PRAGMA writable_schema=ON")
    try:
        connection.guard.allow_schema_writes = True
        connection.internal("UPDATE main.sqlite_schema SET sql = ? WHERE type = 'table' AND name = ?", (create, table))
    finally:
        connection.guard.allow_schema_writes = False
        _write_schema(connection, "PRAGMA writable_schema=OFF")
    raise_schema_cookie(connection)
    reload_schema(connection)


def _without_triggers(connection: Connection, sql: str) -> None:
    """A value is written as it is: to whoever watches the table nothing happens."""
    with sqlite.without_triggers(connection.raw):
        connection.internal(sql)


def _contradiction_error(connection: Connection, table: str) -> SqlError:
    found = connection.internal(f"PRAGMA quick_check({_quoted_name(table)})")
    return SqlError(f"rows of {table} contradict the new definition: {found[0][0]!s}", sqlite_code="SQLITE_CONSTRAINT")


def _table_columns(connection: Connection, table: str) -> list[Row]:
    return connection.internal(f"PRAGMA main.table_xinfo({_quoted_name(table)})")


def _quoted_name(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
