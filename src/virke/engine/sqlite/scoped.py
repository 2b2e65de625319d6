"""What SQL may do under a lesser scope than `schema`, by the actions that SQLite itself names. Knows names only.

1. `read` and `write` leave the schema as it is: no CREATE, ALTER, DROP, REINDEX, ANALYZE or VACUUM, no temporary table,
   view or trigger, no row of the schema table or of the statistics.
2. They can't go round what the schema promises of its rows: no PRAGMA that switches checks off, or that changes what the
   file says of itself.
3. Tables whose names begin with `virke_` are Virke's own: their rows are not changed by hand.
4. What `read` may not do besides is not seen from actions: a virtual table prepares writes when it is read first. SQLite
   says of each statement whether it writes (`Statement.read_only`).
"""

from __future__ import annotations

from typing import Final

import apsw

from virke.engine.sqlite.pragmas import ALLOWED
from virke.scopes import Scope

RESERVED_PREFIX: Final = "virke_"
_CHANGES: Final = frozenset({apsw.SQLITE_INSERT, apsw.SQLITE_UPDATE, apsw.SQLITE_DELETE})
_SCHEMA_ACTIONS: Final = frozenset(
    {
        apsw.SQLITE_ALTER_TABLE,
        apsw.SQLITE_ANALYZE,
        apsw.SQLITE_ATTACH,
        apsw.SQLITE_CREATE_INDEX,
        apsw.SQLITE_CREATE_TABLE,
        apsw.SQLITE_CREATE_TEMP_INDEX,
        apsw.SQLITE_CREATE_TEMP_TABLE,
        apsw.SQLITE_CREATE_TEMP_TRIGGER,
        apsw.SQLITE_CREATE_TEMP_VIEW,
        apsw.SQLITE_CREATE_TRIGGER,
        apsw.SQLITE_CREATE_VIEW,
        apsw.SQLITE_CREATE_VTABLE,
        apsw.SQLITE_DETACH,
        apsw.SQLITE_DROP_INDEX,
        apsw.SQLITE_DROP_TABLE,
        apsw.SQLITE_DROP_TEMP_INDEX,
        apsw.SQLITE_DROP_TEMP_TABLE,
        apsw.SQLITE_DROP_TEMP_TRIGGER,
        apsw.SQLITE_DROP_TEMP_VIEW,
        apsw.SQLITE_DROP_TRIGGER,
        apsw.SQLITE_DROP_VIEW,
        apsw.SQLITE_DROP_VTABLE,
        apsw.SQLITE_REINDEX,
    }
)
_SCHEMA_TABLES: Final = ("sqlite_master", "sqlite_schema", "sqlite_temp_master", "sqlite_temp_schema", "sqlite_stat")
"""Beginnings of names: the schema table under each of its names, and the statistics that are part of it."""
_HARMLESS: Final = frozenset(
    {"cell_size_check", "defer_foreign_keys", "recursive_triggers", "reverse_unordered_selects"}
)
"""PRAGMAs that may be set: they hold for one request, and let no row be that could not be without them."""
_ACT_WHEN_READ: Final = frozenset({"incremental_vacuum", "optimize"})
_ON: Final = frozenset({"1", "on", "true", "yes"})


def refusal_by_scope(scope: Scope, operation: int, first: str | None, second: str | None) -> str | None:
    """Why an action is not for this scope; None if it is."""
    if scope >= Scope.SCHEMA:
        return None
    if operation in _SCHEMA_ACTIONS:
        return why_not(scope, "this statement changes the schema")
    if operation in _CHANGES:
        name = (first or "").lower()
        if name.startswith(_SCHEMA_TABLES):
            return why_not(scope, f"this statement changes {name}")
        if name.startswith(RESERVED_PREFIX):
            return why_not(scope, f"this statement changes {name}, which is Virke's own")
    if operation == apsw.SQLITE_PRAGMA:
        return _refuse_pragma(scope, (first or "").lower(), second)
    return None


def why_not(scope: Scope, what: str) -> str:
    """The message of a refusal."""
    return f"{what}, and that needs the scope `schema`; this request has `{scope.word}`"


def _refuse_pragma(scope: Scope, name: str, argument: str | None) -> str | None:
    if name not in ALLOWED or name in _HARMLESS or (argument is None and name not in _ACT_WHEN_READ):
        return None
    if name == "foreign_keys" and (argument or "").lower() in _ON:
        return None
    return why_not(scope, f"PRAGMA {name} changes more than rows")
