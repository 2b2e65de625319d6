"""The schema as statements, ordered so that they can be replayed.

Knows SQLite's schema table; knows nothing of where it is read.

1. Tables come before what is built on them; views and triggers come last, in the order of their creation.
2. SQLite's own tables and a virtual table's shadow tables are left out: the statement that made them makes them again. So
   is `REQUESTS_TABLE`, which is Virke's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from virke.engine.results import SchemaEntry
from virke.engine.sqlite import Row
from virke.errors import NotFound

REQUESTS_TABLE: Final = "virke_requests"
"""Keyed writes and their answers: belongs to this database and its clients, and goes into no schema and no dump."""
QUERY: Final = f"""
SELECT type, name, tbl_name, sql FROM sqlite_schema
WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' AND lower(tbl_name) <> '{REQUESTS_TABLE}'
  AND name NOT IN (SELECT name FROM pragma_table_list WHERE type = 'shadow')
ORDER BY CASE type WHEN 'table' THEN 0 WHEN 'index' THEN 1 WHEN 'view' THEN 2 ELSE 3 END, rowid
"""


def schema_entries(rows: Sequence[Row], table: str | None) -> list[SchemaEntry]:
    """The schema that `QUERY` answered, or of it one table or view with its indexes and triggers.

    Raises:
        NotFound: there is no such table or view.
    """
    found = [SchemaEntry(str(row[0]), str(row[1]), str(row[2]), str(row[3])) for row in rows]
    if table is None:
        return found
    wanted = [entry for entry in found if table.lower() in (entry.name.lower(), entry.table.lower())]
    if not wanted:
        raise NotFound(f"there is no table or view {table!r}")
    return wanted
