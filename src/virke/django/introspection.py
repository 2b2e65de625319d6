"""Which tables there are, for `inspectdb`, `flush` and migrations: the program's own, and none that Virke keeps in the database.

Knows the names of those, and nothing else but Django.
"""

from __future__ import annotations

from typing import Any, Final

from django.db.backends.sqlite3 import introspection

from virke.engine.schema import REQUESTS_TABLE
from virke.migrations.derive import RECORDS, SEED

OWN: Final = frozenset({RECORDS, REQUESTS_TABLE, SEED})


class DatabaseIntrospection(introspection.DatabaseIntrospection):
    """See `django.db.backends.base.introspection`."""

    def get_table_list(self, cursor: Any) -> list[Any]:
        """All tables and views, except Virke's own."""
        return [table for table in super().get_table_list(cursor) if table.name not in OWN]
