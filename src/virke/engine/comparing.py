"""What differs between two versions of a database: schema, and rows of tables.

Knows two connections, each on its snapshot; knows no history and no root.

1. Both versions are read side by side, a row of each at a time, so that memory does not grow with the tables.
2. Rows are distinguished by their rowid, or by the primary key of a table without one. Where the order of the keys is not the
   one of their bytes (COLLATE, DESC, UTF-16), rows are compared in the order of the table: whether they differ is exact, but
   not which of them.
3. Columns that only one version has are the schema's difference; rows are compared by those that both have.
4. A virtual table differs if one of its shadow tables does, and is named for them. Virke's and SQLite's own tables are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from itertools import zip_longest
from typing import Any, Final

from virke.engine.connection import Connection
from virke.engine.results import ObjectDiff, SchemaEntry, TableDiff
from virke.engine.schema import QUERY, REQUESTS_TABLE, schema_entries
from virke.engine.sqlite import Row
from virke.lazy_dataclasses import dataclass

_TABLES: Final = f"""
SELECT name, type, wr FROM pragma_table_list WHERE schema = 'main' AND type IN ('table', 'virtual', 'shadow')
  AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' AND lower(name) <> '{REQUESTS_TABLE}' ORDER BY name
"""
_COLUMNS: Final = "SELECT name, hidden FROM pragma_table_xinfo(?) ORDER BY cid"
_KEY: Final = """
SELECT x.name, ' COLLATE "' || x.coll || '"' || CASE WHEN x."desc" THEN ' DESC' ELSE '' END
FROM pragma_index_list(?) AS l JOIN pragma_index_xinfo(l.name) AS x WHERE l.origin = 'pk' AND x."key" ORDER BY x.seqno
"""
_BINARY: Final = " COLLATE BINARY"
_ROWIDS: Final = ("rowid", "_rowid_", "oid")
_Keyed = tuple[tuple[tuple[int, Any], ...], Row]


@dataclass(frozen=True, slots=True)
class _Table:
    """A table of one version.

    `key` are the columns that tell its rows apart, with what follows them in ORDER BY; empty if the rowid can't be named.
    Then `order` are all columns.
    """

    name: str
    kind: str
    has_rowid: bool
    columns: tuple[str, ...]
    key: tuple[tuple[str, str], ...]
    order: tuple[tuple[str, str], ...]


class _OtherOrder(Exception):
    """The keys do not ascend by their bytes."""


def schema_differences(before: Connection, after: Connection) -> tuple[ObjectDiff, ...]:
    """The tables, indexes, views and triggers that were added, removed or changed."""
    old, new = _schema_objects(before), _schema_objects(after)
    found: list[ObjectDiff] = []
    for key, entry in (old | new).items():
        was, now = old.get(key), new.get(key)
        if was is None:
            found.append(ObjectDiff("added", entry.type, entry.name, entry.table, None, entry.sql))
        elif now is None:
            found.append(ObjectDiff("removed", entry.type, entry.name, entry.table, was.sql, None))
        elif was.sql != now.sql:
            found.append(ObjectDiff("changed", entry.type, entry.name, entry.table, was.sql, now.sql))
    return tuple(found)


def table_differences(before: Connection, after: Connection) -> tuple[TableDiff, ...]:
    """The tables whose rows are not the same, by name. Raises what reading them does."""
    old, new = _tables_by_name(before), _tables_by_name(after)
    virtual = [key for key in old | new if "virtual" in (_kind_of_table(old, key), _kind_of_table(new, key))]
    shadows: dict[str, list[str]] = {key: [] for key in virtual}
    found: list[TableDiff] = []
    for key in sorted(old | new):
        if "shadow" in (_kind_of_table(old, key), _kind_of_table(new, key)):
            if owners := [one for one in virtual if key.startswith(f"{one}_")]:
                shadows[max(owners, key=len)].append(key)
        elif key not in shadows:
            found.extend(_compared_rows(before, after, old.get(key), new.get(key)))
    for key, parts in shadows.items():
        if _kind_of_table(old, key) != _kind_of_table(new, key) or any(
            _compared_rows(before, after, old.get(part), new.get(part)) for part in parts
        ):
            found.append(_counted_rows(before, after, old.get(key), new.get(key)))
    return tuple(sorted(found, key=lambda one: one.name.lower()))


def _kind_of_table(tables: dict[str, _Table], key: str) -> str | None:
    return tables[key].kind if key in tables else None


def _schema_objects(connection: Connection) -> dict[tuple[str, str], SchemaEntry]:
    return {(one.type, one.name.lower()): one for one in schema_entries(connection.internal(QUERY), None)}


def _tables_by_name(connection: Connection) -> dict[str, _Table]:
    found: dict[str, _Table] = {}
    for name, kind, without_rowid in connection.internal(_TABLES):
        columns = connection.internal(_COLUMNS, (name,))
        taken = {str(column[0]).lower() for column in columns}
        stored = tuple(str(column[0]) for column in columns if column[1] == 0)  # generated ones follow from the others
        if without_rowid:
            key = order = tuple((str(column), str(way)) for column, way in connection.internal(_KEY, (name,)))
        else:
            key = tuple((one, "") for one in _ROWIDS if one not in taken)[:1]
            order = key or tuple((column, _BINARY) for column in stored)
        found[str(name).lower()] = _Table(str(name), str(kind), not without_rowid, stored, key, order)
    return found


def _compared_rows(before: Connection, after: Connection, old: _Table | None, new: _Table | None) -> list[TableDiff]:
    """The difference of a table's rows, if there is one."""
    if old is None or new is None or "virtual" in (old.kind, new.kind) or not _is_alike(old, new):
        return [_counted_rows(before, after, old, new)]
    shared = {name.lower() for name in old.columns} & {name.lower() for name in new.columns}
    names = tuple(name for name in new.columns if name.lower() in shared)

    def read(connection: Connection, table: _Table) -> Iterator[Row]:
        chosen = ", ".join((*(_quoted_name(column) for column, _ in table.key), *map(_quoted_name, names))) or "NULL"
        # always, because SQLite may scan an index that has all columns instead
        order = ", ".join(_quoted_name(column) + way for column, way in table.order)
        return _streamed_rows(connection, f"SELECT {chosen} FROM {_quoted_name(table.name)} ORDER BY {order}")

    found = _by_key(lambda: read(before, old), lambda: read(after, new), len(new.key)) if new.key else None
    if found is None:
        found = _in_order(read(before, old), read(after, new))
    return [] if found is None else [TableDiff(new.name, *found)]


def _is_alike(old: _Table, new: _Table) -> bool:
    """Whether rows of both are in the same order."""
    folded = [[(column.lower(), way) for column, way in one.order] for one in (old, new)]
    return old.has_rowid == new.has_rowid and bool(old.key) == bool(new.key) and folded[0] == folded[1]


def _counted_rows(before: Connection, after: Connection, old: _Table | None, new: _Table | None) -> TableDiff:
    was = None if old is None else _row_count(before, old)
    now = None if new is None else _row_count(after, new)
    name = (new or old or _NOWHERE).name
    if was is None:
        return TableDiff(name, None, now, now, 0, 0)
    if now is None:
        return TableDiff(name, was, None, 0, was, 0)
    return TableDiff(name, was, now, None, None, None)


_NOWHERE: Final = _Table("", "table", True, (), (), ())


def _row_count(connection: Connection, table: _Table) -> int:
    (row,) = _streamed_rows(connection, f"SELECT count(*) FROM {_quoted_name(table.name)}")
    return int(str(row[0]))


def _streamed_rows(connection: Connection, sql: str) -> Iterator[Row]:
    """The rows of a statement, one at a time, since one alone may be long."""
    stream = connection.open_stream(connection.prepare_single(sql), ())
    try:
        while rows := connection.next_rows(stream, 1):
            yield rows[0]
    finally:
        connection.close_stream(stream)


_Found = tuple[int, int, int | None, int | None, int | None]


def _by_key(old: Callable[[], Iterator[Row]], new: Callable[[], Iterator[Row]], width: int) -> _Found | None:
    """Rows before and after, and of them added, removed and changed; None if they are the same, or can't be distinguished so."""
    left, right = _ascending_rows(old(), width), _ascending_rows(new(), width)
    added = removed = changed = same = 0
    try:
        was, now = next(left, None), next(right, None)
        while was is not None or now is not None:
            if was is None or (now is not None and now[0] < was[0]):
                added, now = added + 1, next(right, None)
            elif now is None or was[0] < now[0]:
                removed, was = removed + 1, next(left, None)
            else:
                is_same = _is_same(was[1], now[1])
                same, changed = same + is_same, changed + (not is_same)
                was, now = next(left, None), next(right, None)
    except _OtherOrder:
        return None
    finally:
        left.close()
        right.close()
    if not (added or removed or changed):
        return None
    return same + changed + removed, same + changed + added, added, removed, changed


def _in_order(old: Iterator[Row], new: Iterator[Row]) -> _Found | None:
    """Rows before and after, if they are not the same in the same order."""
    rows_before = rows_after = 0
    is_same = True
    for was, now in zip_longest(old, new):
        rows_before, rows_after = rows_before + (was is not None), rows_after + (now is not None)
        is_same = is_same and was is not None and now is not None and _is_same(was, now)
    return None if is_same else (rows_before, rows_after, None, None, None)


def _ascending_rows(rows: Iterator[Row], width: int) -> Generator[_Keyed]:
    """The rows, each with its key in front. Raises `_OtherOrder`: a key does not follow the one before it."""
    last: tuple[tuple[int, Any], ...] | None = None
    for row in rows:
        key = tuple(map(_rank_of_value, row[:width]))
        if last is not None and not last < key:
            raise _OtherOrder
        yield key, row[width:]
        last = key


def _rank_of_value(value: object) -> tuple[int, Any]:
    """What SQLite orders a value by, if its collation is BINARY."""
    match value:
        case None:
            return 0, 0
        case int() | float():
            return 1, value
        case str():
            return 2, value
        case _:
            return 3, value


def _is_same(was: Row, now: Row) -> bool:
    return was == now and all(type(one) is type(other) for one, other in zip(was, now, strict=True))  # 1 is not 1.0


def _quoted_name(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
