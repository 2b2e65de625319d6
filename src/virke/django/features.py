"""What a database of Virke can do, for Django: what SQLite can in the version that is built in, whatever Python's own has.

Knows nothing but Django.
"""

from __future__ import annotations

from django.db.backends.sqlite3 import features


class DatabaseFeatures(features.DatabaseFeatures):
    """See `django.db.backends.base.features`."""

    test_db_allows_multiple_connections = True
    can_alter_table_drop_column = True
    can_return_columns_from_insert = True
    can_return_rows_from_bulk_insert = True
