"""The schema as statements, ordered so that they can be replayed.

Knows SQLite's schema table; knows only `query` of the database.

1. Tables come before what is built on them; views and triggers come last, in the order of their creation.
2. SQLite's own tables and a virtual table's shadow tables are left out: the statement that made them makes them again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from virke.engine.results import SchemaEntry
from virke.errors import NotFound

if TYPE_CHECKING:
    from virke.engine.database import Database

_ALL = """
SELECT type, name, tbl_name, sql FROM sqlite_schema
WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'
  AND name NOT IN (SELECT name FROM pragma_table_list WHERE type = 'shadow')
ORDER BY CASE type WHEN 'table' THEN 0 WHEN 'index' THEN 1 WHEN 'view' THEN 2 ELSE 3 END, rowid
"""


def entries(database: Database, table: str | None) -> list[SchemaEntry]:
    """The schema of `database`, or of one table or view with its indexes and triggers.

    Raises:
        NotFound: there is no such table or view.
    """
    rows = database.query(_ALL).rows
    found = [SchemaEntry(str(row[0]), str(row[1]), str(row[2]), str(row[3])) for row in rows]
    if table is None:
        return found
    wanted = [entry for entry in found if table.lower() in (entry.name.lower(), entry.table.lower())]
    if not wanted:
        raise NotFound(f"there is no table or view {table!r}")
    return wanted
